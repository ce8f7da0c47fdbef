//! XML to a bounded tree of elements, without entities and DTD.

use quick_xml::Reader;
use quick_xml::XmlVersion;
use quick_xml::events::{BytesRef, BytesStart, Event};

use super::{DdfError, DdfFault};

/// Largest accepted file in bytes. The largest of the registry's 751 definitions has 34 KB, its index 258 KB.
pub const MAX_DOCUMENT: usize = 1024 * 1024;
const MAX_DEPTH: usize = 16;
const MAX_ELEMENTS: usize = 32 * 1024;

/// An element with its own text, trimmed.
pub(super) struct Element {
    pub(super) name: String,
    attributes: Vec<(String, String)>,
    pub(super) text: String,
    pub(super) children: Vec<Element>,
    offset: usize,
    line: u32,
}

impl Element {
    pub(super) fn find(&self, name: &str) -> Option<&Element> {
        self.children.iter().find(|e| e.name == name)
    }

    pub(super) fn need(&self, name: &'static str) -> Result<&Element, DdfError> {
        let mut named = self.children.iter().filter(|e| e.name == name);
        let first = named.next().ok_or_else(|| self.fault(DdfFault::MissingElement(name)))?;
        match named.next() {
            Some(second) => Err(second.fault(DdfFault::Repeated(name.to_owned()))),
            None => Ok(first),
        }
    }

    pub(super) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn fault(&self, fault: DdfFault) -> DdfError {
        DdfError { element: self.name.clone(), line: self.line, offset: self.offset, fault }
    }

    pub(super) fn bad_value(&self) -> DdfError {
        self.value_fault(&self.name, &self.text)
    }

    pub(super) fn value_fault(&self, of: &str, value: &str) -> DdfError {
        self.fault(DdfFault::Value { of: of.to_owned(), value: cut(value).to_owned() })
    }
}

/// Reads the whole document and gives its root.
pub(super) fn read(document: &[u8]) -> Result<Element, DdfError> {
    let outside = |offset, fault| DdfError { element: String::new(), line: 1, offset, fault };
    if document.len() > MAX_DOCUMENT {
        return Err(outside(0, DdfFault::Limit { of: "bytes", max: MAX_DOCUMENT }));
    }
    let text = std::str::from_utf8(document)
        .map_err(|error| DdfError { line: 0, ..outside(error.valid_up_to(), DdfFault::Encoding) })
        .map_err(|error| DdfError { line: line(document, error.offset), ..error })?;
    // The reader counts offsets from behind the mark.
    let mark = if text.starts_with('\u{feff}') { 3 } else { 0 };
    Builder { text: &text[mark..], mark, open: Vec::new(), elements: 0, counted: (0, 1) }.run()
}

fn line(bytes: &[u8], offset: usize) -> u32 {
    let newlines = bytes.iter().take(offset).filter(|b| **b == b'\n').count();
    u32::try_from(newlines).unwrap_or(u32::MAX).saturating_add(1)
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(64)]
}

struct Builder<'a> {
    text: &'a str,
    mark: usize,
    open: Vec<Element>,
    elements: usize,
    /// Offset up to which newlines are counted, and the line there.
    counted: (usize, u32),
}

impl Builder<'_> {
    fn run(mut self) -> Result<Element, DdfError> {
        let mut reader = Reader::from_str(self.text);
        let mut root = None;
        loop {
            let offset = usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX);
            let event = match reader.read_event() {
                Ok(event) => event,
                Err(error) => return Err(self.fault(offset, DdfFault::Xml(error.to_string()))),
            };
            let closed = match event {
                Event::Start(start) => {
                    self.begin(&start, offset, root.is_some())?;
                    None
                }
                Event::Empty(start) => {
                    self.begin(&start, offset, root.is_some())?;
                    self.open.pop()
                }
                Event::End(_) => self.open.pop(),
                Event::Text(text) => {
                    self.append(&text.xml10_content(), offset)?;
                    None
                }
                Event::CData(text) => {
                    self.append(&text.xml10_content(), offset)?;
                    None
                }
                Event::GeneralRef(name) => {
                    self.reference(&name, offset)?;
                    None
                }
                Event::DocType(_) => return Err(self.fault(offset, DdfFault::Dtd)),
                Event::Decl(declaration) => {
                    let utf8 = declaration.encoding().is_none_or(|name| {
                        name.is_ok_and(|n| ["utf-8", "us-ascii"].contains(&n.to_ascii_lowercase().as_str()))
                    });
                    if !utf8 {
                        return Err(self.fault(offset, DdfFault::Encoding));
                    }
                    None
                }
                Event::Comment(_) | Event::PI(_) => None,
                Event::Eof => break,
            };
            if let Some(mut element) = closed {
                let own = element.text.trim();
                if own.len() != element.text.len() {
                    element.text = own.to_owned();
                }
                match self.open.last_mut() {
                    Some(parent) => parent.children.push(element),
                    None => root = Some(element),
                }
            }
        }
        let end = self.text.len();
        if !self.open.is_empty() {
            return Err(self.fault(end, DdfFault::Xml("the document ends inside of an element".into())));
        }
        root.ok_or_else(|| self.fault(end, DdfFault::Xml("there is no element".into())))
    }

    fn begin(&mut self, start: &BytesStart<'_>, offset: usize, after_root: bool) -> Result<(), DdfError> {
        self.elements += 1;
        if self.elements > MAX_ELEMENTS {
            return Err(self.fault(offset, DdfFault::Limit { of: "elements", max: MAX_ELEMENTS }));
        }
        if self.open.len() == MAX_DEPTH {
            return Err(self.fault(offset, DdfFault::Limit { of: "levels", max: MAX_DEPTH }));
        }
        if after_root {
            return Err(self.fault(offset, DdfFault::Xml("a second root element".into())));
        }
        let mut attributes = Vec::new();
        for attribute in start.attributes() {
            let attribute =
                attribute.map_err(|error| self.fault(offset, DdfFault::Xml(error.to_string())))?;
            let value = attribute
                .normalized_value(XmlVersion::Explicit1_0)
                .map_err(|error| self.fault(offset, DdfFault::Xml(error.to_string())))?;
            attributes.push((attribute.key.0.to_owned(), value.into_owned()));
        }
        let line = self.line(offset);
        let name = start.local_name().into_inner().to_owned();
        let (text, children) = (String::new(), Vec::new());
        self.open.push(Element { name, attributes, text, children, offset: offset + self.mark, line });
        Ok(())
    }

    /// Descriptions make up most of a file and are not kept.
    fn append(&mut self, text: &str, offset: usize) -> Result<(), DdfError> {
        match self.open.last_mut() {
            Some(element) if element.name.starts_with("Description") => {}
            Some(element) => element.text.push_str(text),
            None if text.trim().is_empty() => {}
            None => return Err(self.fault(offset, DdfFault::Xml("text outside of the root element".into()))),
        }
        Ok(())
    }

    fn reference(&mut self, name: &BytesRef<'_>, offset: usize) -> Result<(), DdfError> {
        let character = match &**name {
            "amp" => Some('&'),
            "lt" => Some('<'),
            "gt" => Some('>'),
            "quot" => Some('"'),
            "apos" => Some('\''),
            _ => name
                .resolve_char_ref()
                .map_err(|error| self.fault(offset, DdfFault::Xml(error.to_string())))?,
        };
        let Some(character) = character else {
            return Err(self.fault(offset, DdfFault::Entity(cut(name).to_owned())));
        };
        self.append(character.encode_utf8(&mut [0; 4]), offset)
    }

    /// Offsets only grow, so that lines are counted once over the document.
    fn line(&mut self, offset: usize) -> u32 {
        let (from, at) = self.counted;
        let newlines = self.text.as_bytes().get(from..offset).map_or(0, |b| line(b, b.len()) - 1);
        self.counted = (offset.max(from), at.saturating_add(newlines));
        self.counted.1
    }

    fn fault(&mut self, offset: usize, fault: DdfFault) -> DdfError {
        let element = self.open.last().map(|e| e.name.clone()).unwrap_or_default();
        DdfError { element, line: self.line(offset), offset: offset + self.mark, fault }
    }
}
