"""The API below `/v1`: one table of routes, from which both the application and its OpenAPI are made."""
