"""XML 1.0: an object with the root element, in the mapping that xmltodict made common.

An element is an object: `@name` for each attribute, a member for each child element, an array where
one of a name has siblings of that name, and `#text` for its text. An element with text alone is
that string, an empty one null. Names are as written, prefix included; text loses the white space
around it; comments and processing instructions are left out. Document types are refused, and with
them every entity.
"""

import io
from xml.sax import SAXParseException
from xml.sax.handler import ContentHandler
from xml.sax.xmlreader import AttributesImpl, InputSource

import msgspec
from defusedxml import DTDForbidden
from defusedxml.expatreader import DefusedExpatParser

from refresher.errors import refuse
from refresher.jsontext import text as jsontext
from refresher.pipeline.formats.converted import Converted

_WHITE = " \t\r\n"
_SMALL = 4096


def convert(body: bytes) -> Converted:
    """Make an object of UTF-8, whatever encoding its declaration names.

    Raises:
        RefreshFailed: at stage `decode`, with the line that is not XML, or for a document type.
    """
    source = InputSource()
    source.setByteStream(io.BytesIO(body))
    source.setEncoding("utf-8")
    tree = _Tree()
    # In one piece: expat reads a long token again with every piece of it that comes.
    parser = DefusedExpatParser(bufsize=len(body) + 1, forbid_dtd=True)
    parser.setContentHandler(tree)
    try:
        parser.parse(source)
    except SAXParseException as error:
        refuse(f"the body is not XML: line {error.getLineNumber()}: {error.getMessage()}")
    except DTDForbidden:
        refuse("the body has a document type (<!DOCTYPE …>), which could define entities")
    made = msgspec.json.encode(tree.root.members)
    return Converted(made, jsontext.count_items(made))


class _Element:
    """An element whose end tag has not come yet."""

    __slots__ = ("members", "size", "text")

    def __init__(self, members: dict[str, object]) -> None:
        self.members = members
        self.text: list[str] = []
        self.size = 0
        """About how many characters its members have as JSON."""

    def value(self) -> object:
        text = "".join(self.text).strip(_WHITE)
        if not self.members:
            return text or None
        if text:
            self.members["#text"] = text
        if self.size > _SMALL:
            return self.members
        # As text it takes a tenth of the memory; a small one is not written again often.
        return msgspec.Raw(msgspec.json.encode(self.members))

    def add(self, name: str, value: object) -> None:
        if name not in self.members:
            self.members[name] = value
        elif isinstance(siblings := self.members[name], list):
            siblings.append(value)
        else:
            self.members[name] = [siblings, value]


class _Tree(ContentHandler):
    """Builds the members of the document from the parser's events."""

    def __init__(self) -> None:
        super().__init__()
        self.root = _Element({})
        self._open = [self.root]

    def startElement(self, name: str, attrs: AttributesImpl) -> None:  # noqa: N802
        if len(self._open) > jsontext.MAX_DEPTH:
            refuse(jsontext.TOO_DEEP)
        self._open[-1].size += len(name)
        element = _Element({f"@{key}": value for key, value in attrs.items()})
        element.size = sum(len(key) + len(value) for key, value in attrs.items())
        self._open.append(element)

    def endElement(self, name: str) -> None:  # noqa: N802
        element = self._open.pop()
        self._open[-1].add(name, element.value())
        self._open[-1].size += element.size

    def characters(self, content: str) -> None:
        self._open[-1].text.append(content)
        self._open[-1].size += len(content)
