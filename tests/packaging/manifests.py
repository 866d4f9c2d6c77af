"""Container file, compose file and chart as data, read strictly: what is not known here is refused."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TypeAlias

import yaml

from tests.house.source import ROOT

Tree: TypeAlias = dict[str, object]
CONTAINERFILE: Final = ROOT / "examples" / "container" / "Containerfile"
COMPOSE: Final = ROOT / "examples" / "container" / "compose.yaml"
CHART: Final = ROOT / "contrib" / "helm"
INSTRUCTIONS: Final = {
    *("FROM", "COPY", "RUN", "ENV", "USER", "WORKDIR", "VOLUME", "EXPOSE"),
    *("ENTRYPOINT", "CMD", "HEALTHCHECK"),
}
# What the templates may say: a value by its name, and nothing that only a template engine can compute.
HOLE: Final = re.compile(r"\{\{ \.(Values|Release)((?:\.\w+)+) \}\}")


class _Strict(yaml.SafeLoader):
    """Refuses a key that is there twice: every other reader takes another one of the two."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:
        keys = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        assert len(keys) == len({*keys}), f"line {node.start_mark.line + 1}: a key is there twice"
        self.flatten_mapping(node)
        return super().construct_mapping(node, deep)


def read(text: str) -> Tree:
    """The one YAML document of `text`."""
    found = yaml.load(text, _Strict)  # A safe loader, stricter.
    assert isinstance(found, dict)
    return found


def instructions() -> list[tuple[str, str]]:
    """Every instruction of the container file with its arguments, lines joined."""
    text = re.sub(r"^#.*\n", "", CONTAINERFILE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = [line for line in re.sub(r"\\\n\s*", "", text).splitlines() if line.strip()]
    found = [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines]
    assert {word for word, _ in found} <= INSTRUCTIONS
    return found


def the_words(instruction: str) -> list[str]:
    """The arguments of the last `instruction` in their form without a shell."""
    rest = [words for word, words in instructions() if word == instruction][-1]
    if instruction == "HEALTHCHECK":
        rest = rest.split("CMD ", 1)[1]
    found = json.loads(rest)
    assert isinstance(found, list)
    return [str(word) for word in found]


def image_variables() -> dict[str, str]:
    """The variables that the image sets."""
    lines = " ".join(words for word, words in instructions() if word == "ENV")
    return dict(one.split("=", 1) for one in lines.split())


def values() -> Tree:
    """The values that the chart has."""
    return read((CHART / "values.yaml").read_text(encoding="utf-8"))


def rendered() -> dict[str, Tree]:
    """Every template of the chart with its own values put in, by its file name."""
    return {path.name: read(_filled(path)) for path in sorted((CHART / "templates").glob("*.yaml"))}


def _filled(path: Path) -> str:
    def value(match: re.Match[str]) -> str:
        place: object = values() if match[1] == "Values" else {"Name": "ops"}
        for name in match[2].split(".")[1:]:
            assert isinstance(place, dict) and name in place, f"{path.name}: no value {match[0]}"
            place = place[name]
        return str(place)

    text = HOLE.sub(value, path.read_text(encoding="utf-8"))
    assert "{{" not in text, f"{path.name} says more than values"
    return text


def holes() -> set[str]:
    """Every value that a template asks for, as `a.b`."""
    text = "".join(path.read_text(encoding="utf-8") for path in (CHART / "templates").glob("*.yaml"))
    return {names[1:] for kind, names in HOLE.findall(text) if kind == "Values"}


def leaves(tree: Tree, above: str = "") -> Iterator[str]:
    """Every name in `tree` that has a value, as `a.b`."""
    for name, below in tree.items():
        if isinstance(below, dict):
            yield from leaves(below, f"{above}{name}.")
        else:
            yield f"{above}{name}"


def items(tree: object, name: str) -> Iterator[object]:
    """Whatever stands under `name` anywhere in `tree`."""
    if isinstance(tree, dict):
        for key, below in tree.items():
            if key == name:
                yield below
            yield from items(below, name)
    elif isinstance(tree, list):
        for below in tree:
            yield from items(below, name)


def under(tree: object, *path: str) -> Tree:
    """The mapping at `path` in `tree`."""
    for name in path:
        assert isinstance(tree, dict), path
        tree = tree[name]
    assert isinstance(tree, dict), path
    return tree


def listed(tree: Tree, name: str) -> list[Tree]:
    """The list of mappings under `name`."""
    found = tree.get(name, [])
    assert isinstance(found, list) and all(isinstance(one, dict) for one in found)
    return found
