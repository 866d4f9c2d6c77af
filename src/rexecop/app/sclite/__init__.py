"""The seed's evidence folder (SCLite), made from a bundle and from nothing else.

`story` reads the bundle, `artifacts` makes the six roles, `folder` the files around
them, `exchange` writes folders and reads them back. The folder is a view: whatever in
it differs from what the bundle inside yields is refused.
"""
