import json
from dataclasses import dataclass
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refresher.model import Format, Stage
from tests.pipeline.answers import refined, refusal

XML = "application/xml"


def made_of(body: str | bytes) -> object:
    return json.loads(refined(body.encode() if isinstance(body, str) else body, XML).body)


def test_xml_is_served_as_the_object_it_makes() -> None:
    content = refined(b'<rates base="EUR"><rate>1.10</rate></rates>', "text/xml")
    assert content.body == b'{"rates":{"@base":"EUR","rate":"1.10"}}'
    assert (content.format, content.content_type) == (Format.XML, "application/json")
    assert content.items == 1


@pytest.mark.parametrize(
    ("body", "made"),
    [
        ("<a/>", {"a": None}),
        ("<a> \n </a>", {"a": None}),
        ("<a> x\n</a>", {"a": "x"}),
        ("<a b='1'/>", {"a": {"@b": "1"}}),
        ("<a b='1'>x</a>", {"a": {"@b": "1", "#text": "x"}}),
        ("<a><b/></a>", {"a": {"b": None}}),
        ("<a><b/><b/></a>", {"a": {"b": [None, None]}}),
        ("<a><b/><c>1</c><b x='2'/><b>3</b></a>", {"a": {"b": [None, {"@x": "2"}, "3"], "c": "1"}}),
        ("<a>x<b/>y</a>", {"a": {"b": None, "#text": "xy"}}),
        ("<a><![CDATA[<b>]]>&amp;&#233;</a>", {"a": "<b>&é"}),
        ("<a><!-- x --><?php x ?>1</a>", {"a": "1"}),
        ("<p:a xmlns:p='u'><p:b/></p:a>", {"p:a": {"@xmlns:p": "u", "p:b": None}}),
        ("<é ü='ö'/>", {"é": {"@ü": "ö"}}),
    ],
)
def test_elements_attributes_and_text_have_their_places(body: str, made: object) -> None:
    assert made_of(body) == made


names = st.sampled_from(["a", "b", "c-d", "é"])
texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Cn", "Co"]))


@dataclass
class Node:
    name: str
    attributes: dict[str, str]
    text: str
    children: "list[Node]"

    def element(self) -> ET.Element:
        made = ET.Element(self.name, self.attributes)
        made.text = self.text
        made.extend(child.element() for child in self.children)
        return made

    def value(self) -> object:
        members: dict[str, object] = {f"@{key}": value for key, value in self.attributes.items()}
        for child in self.children:
            found = [other.value() for other in self.children if other.name == child.name]
            members[child.name] = found if len(found) > 1 else found[0]
        text = self.text.strip(" \t\r\n")
        if members:
            return members | ({"#text": text} if text else {})
        return text or None


attributes = st.dictionaries(names, texts, max_size=2)
nodes: st.SearchStrategy[Node] = st.recursive(
    st.builds(Node, names, attributes, texts, st.just([])),
    lambda inner: st.builds(Node, names, attributes, texts, st.lists(inner, max_size=4)),
    max_leaves=20,
)


@given(nodes)
def test_what_was_written_is_read(root: Node) -> None:
    written = ET.tostring(root.element(), encoding="utf-8")
    assert made_of(written) == {root.name: root.value()}


def test_large_and_small_elements_are_written_alike() -> None:
    item = "<item id='1'><name>x</name></item>"
    one = {"@id": "1", "name": "x"}
    assert made_of(f"<r><g>{item * 500}</g><g>{item}</g></r>") == {
        "r": {"g": [{"item": [one] * 500}, {"item": one}]}
    }


@pytest.mark.parametrize(
    ("declared", "body"),
    [
        ("text/xml", '<?xml version="1.0" encoding="ISO-8859-1"?><a>é€</a>'.encode("cp1252")),
        (XML, '<?xml version="1.0" encoding="windows-1252"?><a>é€</a>'.encode("cp1252")),
        (f"{XML}; charset=utf-8", '<?xml version="1.0" encoding="UTF-16"?><a>é€</a>'.encode()),
        (f"{XML}; charset=cp1252", "<a>é€</a>".encode("cp1252")),
        (XML, '<?xml version="1.0" encoding="UTF-16"?><a>é€</a>'.encode("utf-16")),
        (XML, "<a>é€</a>".encode("utf-16-be")),
        (f"{XML}; charset=latin-1", "<a>é€</a>".encode("utf-8-sig")),
        (XML, "<a>é€</a>".encode()),
    ],
)
def test_mark_then_content_type_then_declaration_tell_the_charset(
    declared: str, body: bytes
) -> None:
    expected = b"\x80".decode("latin-1") if b"8859" in body else "€"
    assert json.loads(refined(body, declared).body) == {"a": f"é{expected}"}


BOMB = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (f'<!DOCTYPE a [<!ENTITY e0 "x">{BOMB}]><a>&e9;</a>', "document type"),
        ('<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]><a>&e;</a>', "document type"),
        ('<!DOCTYPE a SYSTEM "http://127.0.0.1:1/a.dtd"><a/>', "document type"),
        ('<!DOCTYPE a [<!ENTITY % p SYSTEM "http://127.0.0.1:1/">%p;]><a/>', "document type"),
        ("<a>&e;</a>", "line 1: undefined entity"),
        ("<a>\n<b></a>", "line 2: mismatched tag"),
        ("<a", "line 1: unclosed token"),
        ("<a/>\n<b/>", "line 2: junk after document element"),
        ("<a b='1' b='2'/>", "duplicate attribute"),
        ("<a>&#xD800;</a>", "invalid character"),
        ("<a>\x01</a>", "not well-formed"),
        ("down for maintenance", "line 1: syntax error"),
        ('{"error": "quota"}', "not XML"),
        ("  ", "no element found"),
        ("<a>\udce9</a>", "not utf-8"),
        ('<?xml version="1.0" encoding="klingon"?><a/>', "'klingon'"),
    ],
)
def test_what_is_not_xml_or_dangerous_is_refused(body: str, said: str) -> None:
    assert said in refusal(Stage.DECODE, body.encode("utf-8", "surrogateescape"), XML)


def test_512_levels_pass_and_one_more_does_not() -> None:
    assert refined(b"<a>" * 512 + b"</a>" * 512, XML).body == b'{"a":' * 512 + b"null" + b"}" * 512
    for levels in (513, 100_000):
        assert "512 levels" in refusal(Stage.DECODE, b"<a>" * levels + b"</a>" * levels, XML)


def test_an_array_counts_as_a_level() -> None:
    nested = b"<a><a/>" * 300 + b"</a>" * 300
    assert "512 levels" in refusal(Stage.DECODE, nested, XML)
