"""Settings: overrides, plain data, and how mistakes in either are answered."""

import dataclasses
import json
from typing import Any, ClassVar, Literal

import pytest

from slots.config import (
    Component,
    ConfigError,
    fields,
    from_data,
    leaves,
    nearest,
    override,
    replace,
    to_data,
)
from slots.data import DataConfig
from slots.decoders import DecoderConfig
from slots.encoders import EncoderConfig
from slots.experiment import ExperimentConfig
from slots.initializers import InitializerConfig
from slots.models import ModelConfig
from slots.modules import SlotModuleConfig
from slots.objectives import ObjectiveConfig
from slots.presets import load, presets

FAMILIES = (
    DataConfig,
    DecoderConfig,
    EncoderConfig,
    InitializerConfig,
    ModelConfig,
    ObjectiveConfig,
    SlotModuleConfig,
)
PARTS = [(family, name) for family in FAMILIES for name in sorted(family.kinds)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shape(Component):
    kinds: ClassVar[dict[str, type[Any]]] = {}
    color: str = "red"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Disc(Shape):
    radius: float = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Box(Shape):
    sides: tuple[int, int] = (1, 2)
    corner: Disc | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Needy(Shape):
    must: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Unregistered(Shape):
    pass


Shape.kinds.update(disc=Disc, box=Box, needy=Needy)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rule:
    pattern: str
    loud: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Root:
    whole: int = 1
    real: float = 0.5
    flag: bool = False
    text: str = "a"
    maybe: int | None = None
    maybe_text: str | None = None
    maybe_pair: tuple[int, int] | None = None
    choice: Literal["one", "two"] = "one"
    number: Literal[1, 3] = 1
    widths: tuple[int, ...] = (4, 4)
    strides: tuple[int, ...] = (1, 1)
    pairs: tuple[tuple[str, str], ...] = ()
    rules: tuple[Rule, ...] = ()
    shape: Shape = Disc()
    spare: Shape | None = None
    several: tuple[Shape, ...] = (Disc(), Box())

    def __post_init__(self) -> None:
        if len(self.widths) != len(self.strides):
            raise ConfigError(f"widths={self.widths} and strides={self.strides} differ in length.")


def refusal(settings: Any, *assignments: str) -> str:
    """The sentence that `assignments` are refused with."""
    with pytest.raises(ConfigError) as caught:
        override(settings, assignments)
    message = str(caught.value)
    assert "\n" not in message
    return message


class TestOverride:
    @pytest.mark.parametrize(
        ("assignment", "name", "value"),
        [
            ("whole=7", "whole", 7),
            ("whole=-7", "whole", -7),
            ("whole=1_000", "whole", 1000),
            ("real=2", "real", 2.0),
            ("real=1e-3", "real", 1e-3),
            ("real=-.5", "real", -0.5),
            ("flag=true", "flag", True),
            ("maybe=3", "maybe", 3),
            ("maybe=null", "maybe", None),
            ("maybe_text=null", "maybe_text", None),
            ("maybe_text=no", "maybe_text", "no"),
            ("maybe_pair=[1,2]", "maybe_pair", (1, 2)),
            ("maybe_pair=null", "maybe_pair", None),
            ("choice=two", "choice", "two"),
            ("number=3", "number", 3),
            ("widths=[1, 2]", "widths", (1, 2)),
            (
                'pairs=[[".*/kernel", column], [a, b]]',
                "pairs",
                ((".*/kernel", "column"), ("a", "b")),
            ),
            ("rules=[{pattern: a/.*, loud: true}]", "rules", (Rule(pattern="a/.*", loud=True),)),
            ("several=[{kind: disc, radius: 2}]", "several", (Disc(radius=2.0),)),
        ],
    )
    def test_converts_to_the_declared_type(self, assignment: str, name: str, value: Any) -> None:
        new = getattr(override(Root(), [assignment]), name)
        assert new == value
        assert type(new) is type(value)

    @pytest.mark.parametrize(
        "text", ["", "a=b", "no", "007", "1e3", "[1", "a: b", "a #b", "~/x y", "C:\\x", "{", '"q"']
    )
    def test_text_is_taken_as_it_stands(self, text: str) -> None:
        assert override(Root(), [f"text={text}"]).text == text

    def test_later_assignments_win(self) -> None:
        assert override(Root(), ["whole=2", "whole=3"]).whole == 3

    def test_leaves_its_argument_alone(self) -> None:
        root = Root()
        override(root, ["shape.color=blue", "several.0.color=blue"])
        assert root == Root()

    def test_goes_into_groups_and_tuples(self) -> None:
        new = override(Root(), ["shape.radius=3", "several.1.sides=[3,4]", "several.0=box"])
        assert new.shape == Disc(radius=3.0)
        assert new.several == (Box(), Box(sides=(3, 4)))

    def test_a_swapped_part_keeps_what_its_family_shares(self) -> None:
        new = override(Root(), ["shape.color=blue", "shape.radius=3", "shape=box"])
        assert new.shape == Box(color="blue")

    def test_naming_the_present_part_changes_nothing(self) -> None:
        assert override(Root(shape=Disc(radius=3.0)), ["shape=disc"]).shape == Disc(radius=3.0)

    def test_optional_parts_come_and_go(self) -> None:
        assert override(Root(), ["spare=box"]).spare == Box()
        assert override(Root(spare=Box()), ["spare=null"]).spare is None
        assert override(Root(), ["shape=box", "shape.corner=disc"]).shape == Box(corner=Disc())

    @pytest.mark.parametrize("order", [(0, 1), (1, 0)])
    def test_combinations_are_checked_when_all_is_said(self, order: tuple[int, int]) -> None:
        both = ("widths=[1,2,3]", "strides=[1,1,1]")
        assert override(Root(), [both[i] for i in order]).widths == (1, 2, 3)
        assert "differ in length" in refusal(Root(), both[0])

    def test_rules_can_be_written_then_changed(self) -> None:
        new = override(Root(), ["rules=[{pattern: a}]", "rules.0.loud=true"])
        assert new.rules == (Rule(pattern="a", loud=True),)


class TestRefusedOverrides:
    @pytest.mark.parametrize(
        ("assignment", "parts"),
        [
            ("whol=1", ["whol", "Root", "'whole'"]),
            ("shape.radios=1", ["shape.radios", "Disc", "'radius'", __name__]),
            ("zzz=1", ["zzz", "Root", "it has whole, real"]),
            ("whole=1.5", ["whole=1.5", "int"]),
            ("whole=abc", ["whole='abc'", "int"]),
            ("whole=true", ["whole=True", "int"]),
            ("whole=", ["whole=None", "int"]),
            ("whole=null", ["whole=None", "int"]),
            ("whole=[1]", ["whole", "int", "[1]"]),
            ("whole={a: 1}", ["whole", "int", "{'a': 1}"]),
            ("real=x", ["real='x'", "float"]),
            ("real=nan", ["real='nan'", "finite"]),
            ("real=.inf", ["real=inf", "finite"]),
            ("flag=maybe", ["flag='maybe'", "bool"]),
            ("choice=three", ["choice='three'", "'one'", "'two'"]),
            ("number=2", ["number=2", "[1, 3]"]),
            ("widths=3", ["widths", "list", "3"]),
            ("widths=[a]", ["widths.0='a'", "int"]),
            ("widths=[1,[2]]", ["widths.1", "int", "[2]"]),
            ("maybe_pair=[1]", ["maybe_pair", "2 entries", "[1]"]),
            ("pairs=[[a]]", ["pairs.0", "2 entries"]),
            ("rules=[{patern: a}]", ["rules.0.patern", "Rule", "'pattern'"]),
            ("rules=[a]", ["rules.0", "group of settings"]),
            ("rules=[{loud: true}]", ["rules.0", "pattern"]),
            ("shape=disk", ["shape='disk'", "'disc'", "box, disc, needy"]),
            ("shape=", ["shape=''", "box, disc, needy"]),
            ("shape=null", ["shape='null'", "box, disc, needy"]),
            ("shape=needy", ["shape", "must"]),
            ("several=disc", ["several", "list"]),
            ("several.2.color=x", ["several.2.color", "'2'", "2 entries"]),
            ("several.x=disc", ["several.x", "'x'", "index"]),
            ("several.-1=disc", ["several.-1", "'-1'", "index"]),
            ("whole.x=1", ["whole.x", "no settings inside"]),
            ("spare.color=red", ["spare.color", "no settings inside"]),
            ("whole", ["'whole'", "key=value"]),
            ("=1", ["'=1'", "key=value"]),
            ("shape..radius=1", ["shape..radius", "Disc"]),
            ("text=${oc.env:HOME}", ["text", "not allowed"]),
            ("text=???", ["text", "not allowed"]),
            ("whole=???", ["whole", "not allowed"]),
            ("widths=[${oc.env:HOME}]", ["widths", "not allowed"]),
            ("widths=[1", ["widths='[1'", "cannot be read"]),
            ("widths=[???]", ["widths='[???]'", "cannot be read"]),
            ("whole={a", ["whole='{a'", "cannot be read"]),
            ("whole=*x", ["whole='*x'", "cannot be read"]),
            ("whole=!!python/object:os.system x", ["whole", "cannot be read"]),
        ],
    )
    def test_one_sentence_names_the_key(self, assignment: str, parts: list[str]) -> None:
        message = refusal(Root(), assignment)
        for part in parts:
            assert part in message
        assert not message.endswith(("..", "?.", "?;"))

    def test_a_group_takes_no_value(self) -> None:
        message = refusal(load("slot_attention/tetrominoes"), "train=5")
        assert "train" in message
        assert "group of settings" in message


class TestData:
    @pytest.mark.parametrize("name", sorted(presets()))
    def test_presets_survive_json(self, name: str) -> None:
        config = load(name)
        again = from_data(ExperimentConfig, json.loads(json.dumps(to_data(config))))
        assert again == config
        assert hash(again) == hash(config)

    @pytest.mark.parametrize(("family", "name"), PARTS, ids=str)
    def test_parts_survive_json(self, family: type[Component], name: str) -> None:
        cls = family.kinds[name]
        needed = {
            f.name: next(iter(sorted(fields(cls)[f.name].kinds.values(), key=str)))()
            for f in dataclasses.fields(cls)
            if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        }
        part = cls(**needed)
        data = json.loads(json.dumps(to_data(part)))
        assert data["kind"] == name == part.kind
        assert from_data(family, data) == part

    def test_everything_survives_json(self) -> None:
        root = Root(
            maybe=3,
            pairs=(("a", "b"),),
            rules=(Rule(pattern="x"),),
            shape=Box(corner=Disc(radius=2.0)),
            spare=Disc(color="ünï"),
        )
        assert from_data(Root, json.loads(json.dumps(to_data(root)))) == root

    def test_what_is_left_out_has_its_default(self) -> None:
        assert from_data(Root, {"shape": {"kind": "box"}}) == Root(shape=Box())

    def test_unregistered_parts_cannot_be_saved(self) -> None:
        with pytest.raises(ConfigError, match=r"Unregistered is not registered; .*Shape\.kinds"):
            to_data(Root(shape=Unregistered()))

    @pytest.mark.parametrize(
        ("data", "parts"),
        [
            (None, ["config", "group of settings"]),
            ([], ["config", "group of settings"]),
            ("x", ["config", "group of settings"]),
            ({"whol": 1}, ["config.whol", "Root", "'whole'"]),
            ({"": 1}, ["Root", "''"]),
            ({"__class__": 1}, ["Root", "'__class__'"]),
            ({"whole": "x"}, ["config.whole", "int"]),
            ({"whole": 1.5}, ["config.whole", "int"]),
            ({"whole": None}, ["config.whole", "int"]),
            ({"whole": []}, ["config.whole", "int"]),
            ({"whole": {}}, ["config.whole", "int"]),
            ({"real": float("nan")}, ["config.real", "finite"]),
            ({"real": float("-inf")}, ["config.real", "finite"]),
            ({"text": {}}, ["config.text", "str"]),
            ({"text": None}, ["config.text", "str"]),
            ({"text": "${oc.env:HOME}"}, ["config.text", "not allowed"]),
            ({"text": "???"}, ["config.text", "not allowed"]),
            ({"choice": "three"}, ["config.choice", "'one'"]),
            ({"widths": 3}, ["config.widths", "list"]),
            ({"widths": {"0": 1}}, ["config.widths", "list"]),
            ({"widths": "12"}, ["config.widths", "list"]),
            ({"widths": [1, "${x}"]}, ["config.widths.1", "not allowed"]),
            ({"widths": [1]}, ["widths=(1,)", "differ in length"]),
            ({"rules": {}}, ["config.rules", "list"]),
            ({"rules": [1]}, ["config.rules.0", "group of settings"]),
            ({"rules": [{}]}, ["config.rules.0", "pattern"]),
            ({"shape": "disc"}, ["config.shape", "group of settings"]),
            ({"shape": None}, ["config.shape", "group of settings"]),
            ({"shape": {}}, ["config.shape", "which kind of Shape"]),
            ({"shape": {"kind": 3}}, ["config.shape", "which kind of Shape"]),
            ({"shape": {"kind": ["disc"]}}, ["config.shape", "which kind of Shape"]),
            ({"shape": {"kind": "disk"}}, ["config.shape='disk'", "'disc'"]),
            ({"shape": {"kind": "os.system"}}, ["config.shape='os.system'"]),
            ({"shape": {"kind": "needy"}}, ["config.shape", "must"]),
            ({"shape": {"kind": "disc", "radius": "x"}}, ["config.shape.radius", "float"]),
            ({"several": [{"kind": "disc"}, {}]}, ["config.several.1", "which kind"]),
        ],
        ids=str,
    )
    def test_a_strangers_file_is_refused_in_one_sentence(self, data: Any, parts: list[str]) -> None:
        with pytest.raises(ConfigError) as caught:
            from_data(Root, data)
        for part in parts:
            assert part in str(caught.value)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("where", ["whole", "text", "widths", "shape", "rules", "several"])
    @pytest.mark.parametrize("container", ["list", "dict"])
    def test_depth_and_length_do_not_matter(self, where: str, container: str) -> None:
        deep: Any = 1
        for _ in range(5000):
            deep = [deep] if container == "list" else {"kind": deep}
        with pytest.raises(ConfigError) as caught:
            from_data(Root, {where: deep})
        assert len(str(caught.value)) < 500

    def test_long_values_are_shortened(self) -> None:
        for data in ({"whole": "x" * 10**4}, {"shape": {"kind": "x" * 10**4}}):
            with pytest.raises(ConfigError) as caught:
                from_data(Root, data)
            assert len(str(caught.value)) < 500


class TestReplace:
    def test_takes_dotted_paths(self) -> None:
        new = replace(Root(), whole=2, shape__radius=3.0)
        assert new == Root(whole=2, shape=Disc(radius=3.0))

    def test_changes_of_one_group_are_made_together(self) -> None:
        assert replace(Root(), widths=(1,), strides=(1,)).widths == (1,)
        nested = replace(Root(shape=Box()), shape__color="x", shape__sides=(5, 6))
        assert nested.shape == Box(color="x", sides=(5, 6))

    def test_a_part_is_swapped_and_changed(self) -> None:
        assert replace(Root(), shape=Box(), shape__sides=(5, 6)).shape == Box(sides=(5, 6))

    def test_goes_deep(self) -> None:
        root = Root(shape=Box(corner=Disc()))
        assert replace(root, shape__corner__radius=9.0).shape == Box(corner=Disc(radius=9.0))


def test_leaves_are_flat() -> None:
    flat = dict(leaves(Root(several=(Disc(), Box()))))
    assert flat["shape"] == "disc"
    assert flat["shape.radius"] == 1.0
    assert flat["several.1.sides"] == (1, 2)
    assert flat["spare"] is None
    assert flat["pairs"] == ()


def test_nearest() -> None:
    assert nearest("traim", ["train", "eval"]) == "; did you mean 'train'?"
    assert nearest("zzz", ["train", "eval"]) == ""
