//! CoRE link format (RFC 6690), as registrations and Discover answers have it.
//!
//! ```text
//! link *( "," link )      link = "<" target ">" *( ";" name [ "=" ( token / quoted ) ] )
//! ```
//!
//! Blanks, which the grammar has nowhere, are borne where clients put them: at both ends, around
//! commas and behind semicolons. Text outside of quotes is ASCII.

use std::borrow::Cow;
use std::fmt;

/// Most links of one payload; 64 KiB could hold 10,922 of the shortest that name an instance.
pub const MAX_LINKS: usize = 8192;
/// Most attributes of one link.
pub const MAX_ATTRIBUTES: usize = 32;

/// These must not come more than once in a link (RFC 6690 §3, RFC 7252 §7.2.1, LwM2M's `ver`).
const ONCE: [&str; 7] = ["rt", "if", "sz", "ct", "rel", "title", "ver"];

/// One link. Parsing allocates for attributes only, and copies nothing but quoted
/// values with a backslash in them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link<'a> {
    /// What stands between `<` and `>`: a path or any other URI reference, percent-encoded.
    pub target: Cow<'a, str>,
    /// In the order of the payload.
    pub attributes: Vec<Attribute<'a>>,
}

/// An attribute of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// Its name, in the case it was written in.
    pub name: Cow<'a, str>,
    /// Its value, without quotes; `None` for a name alone.
    pub value: Option<Cow<'a, str>>,
}

impl<'a> Link<'a> {
    /// A link without attributes.
    pub fn new(target: impl Into<Cow<'a, str>>) -> Self {
        Self { target: target.into(), attributes: Vec::new() }
    }

    /// Appends an attribute.
    #[must_use]
    pub fn with(mut self, name: impl Into<Cow<'a, str>>, value: impl Into<Cow<'a, str>>) -> Self {
        self.attributes.push(Attribute { name: name.into(), value: Some(value.into()) });
        self
    }

    /// Appends an attribute that is a name alone.
    #[must_use]
    pub fn with_flag(mut self, name: impl Into<Cow<'a, str>>) -> Self {
        self.attributes.push(Attribute { name: name.into(), value: None });
        self
    }

    /// The value of the first attribute of this name; an empty string for a name alone.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        let found = self.attributes.iter().find(|a| a.name == name)?;
        Some(found.value.as_deref().unwrap_or(""))
    }

    /// The same link, holding its own text.
    pub fn into_owned(self) -> Link<'static> {
        let own = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        let attributes = self.attributes.into_iter();
        Link {
            target: own(self.target),
            attributes: attributes
                .map(|a| Attribute { name: own(a.name), value: a.value.map(own) })
                .collect(),
        }
    }
}

/// Numbers and versions are written as they are, all other values in quotes.
impl fmt::Display for Link<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}>", self.target)?;
        for Attribute { name, value } in &self.attributes {
            match value.as_deref() {
                None => write!(f, ";{name}")?,
                Some(number) if is_number(number) => write!(f, ";{name}={number}")?,
                Some(text) => {
                    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
                    write!(f, ";{name}=\"{escaped}\"")?;
                }
            }
        }
        Ok(())
    }
}

fn is_number(value: &str) -> bool {
    !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'+'))
}

/// Writes a payload of links.
pub fn write<'l, 'a: 'l>(links: impl IntoIterator<Item = &'l Link<'a>>) -> String {
    let mut payload = String::new();
    for link in links {
        if !payload.is_empty() {
            payload.push(',');
        }
        payload.push_str(&link.to_string());
    }
    payload
}

/// Why a payload is not link format, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("byte {offset}: {fault}")]
pub struct LinkError {
    /// From the start of the payload.
    pub offset: usize,
    /// What is wrong there.
    pub fault: LinkFault,
}

/// What is wrong with a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LinkFault {
    /// Nothing but blanks.
    #[error("there is no link")]
    Empty,
    /// Not UTF-8.
    #[error("not UTF-8")]
    Utf8,
    /// A link must begin here.
    #[error("expected '<'")]
    Link,
    /// The target is empty, has a character that no URI has, a bad percent sign, or no end.
    #[error("bad link target")]
    Target,
    /// An attribute's name must be here.
    #[error("bad attribute name")]
    Name,
    /// The value of an attribute is missing, has a character that is not allowed, or no end.
    #[error("bad attribute value")]
    Value,
    /// `,` or `;` must be here.
    #[error("expected ',' or ';'")]
    Separator,
    /// An attribute that may come once comes again.
    #[error("attribute comes twice")]
    Repeated,
    /// More than [`MAX_LINKS`] or [`MAX_ATTRIBUTES`].
    #[error("too many links or attributes")]
    TooMany,
}

/// Reads links one by one; ends after the first error.
#[derive(Debug, Clone)]
pub struct Links<'a> {
    text: &'a str,
    at: usize,
    count: usize,
    done: bool,
}

impl<'a> Links<'a> {
    /// Begins to read a payload, which must hold at least one link.
    pub fn new(payload: &'a [u8]) -> Result<Self, LinkError> {
        let text = std::str::from_utf8(payload)
            .map_err(|error| LinkError { offset: error.valid_up_to(), fault: LinkFault::Utf8 })?;
        let mut links = Self { text, at: 0, count: 0, done: false };
        links.skip_blanks();
        if links.peek().is_none() {
            return Err(links.fault(LinkFault::Empty));
        }
        Ok(links)
    }

    fn link(&mut self) -> Result<Link<'a>, LinkError> {
        self.count += 1;
        if self.count > MAX_LINKS {
            return Err(self.fault(LinkFault::TooMany));
        }
        let mut link = Link::new(self.target()?);
        loop {
            match self.peek() {
                Some(b';') => {
                    self.at += 1;
                    self.skip_blanks();
                    let start = self.at;
                    let attribute = self.attribute()?;
                    self.check(&link, &attribute).map_err(|fault| LinkError { offset: start, fault })?;
                    link.attributes.push(attribute);
                }
                None => {
                    self.done = true;
                    return Ok(link);
                }
                Some(_) => break,
            }
        }
        self.skip_blanks();
        match self.peek() {
            None => self.done = true,
            Some(b',') => {
                self.at += 1;
                self.skip_blanks();
            }
            Some(_) => return Err(self.fault(LinkFault::Separator)),
        }
        Ok(link)
    }

    fn check(&self, link: &Link<'_>, attribute: &Attribute<'_>) -> Result<(), LinkFault> {
        if link.attributes.len() == MAX_ATTRIBUTES {
            return Err(LinkFault::TooMany);
        }
        let again = || link.attributes.iter().any(|a| a.name == attribute.name);
        if ONCE.contains(&&*attribute.name) && again() {
            return Err(LinkFault::Repeated);
        }
        Ok(())
    }

    fn target(&mut self) -> Result<&'a str, LinkError> {
        if self.peek() != Some(b'<') {
            return Err(self.fault(LinkFault::Link));
        }
        self.at += 1;
        let target = self.run(is_uri);
        let bytes = target.as_bytes();
        for (i, _) in bytes.iter().enumerate().filter(|(_, b)| **b == b'%') {
            if !matches!(bytes.get(i + 1..i + 3), Some([a, b]) if a.is_ascii_hexdigit() && b.is_ascii_hexdigit())
            {
                return Err(self.fault(LinkFault::Target));
            }
        }
        // "//" would begin a host name.
        if target.is_empty() || target.starts_with("//") || self.peek() != Some(b'>') {
            return Err(self.fault(LinkFault::Target));
        }
        self.at += 1;
        Ok(target)
    }

    fn attribute(&mut self) -> Result<Attribute<'a>, LinkError> {
        let name = self.run(is_name);
        if name.is_empty() {
            return Err(self.fault(LinkFault::Name));
        }
        if self.peek() != Some(b'=') {
            return Ok(Attribute { name: name.into(), value: None });
        }
        self.at += 1;
        let value =
            if self.peek() == Some(b'"') { self.quoted()? } else { Cow::Borrowed(self.run(is_token)) };
        // An empty value exists in quotes only.
        if value.is_empty() && self.text.as_bytes().get(self.at - 1) != Some(&b'"') {
            return Err(self.fault(LinkFault::Value));
        }
        Ok(Attribute { name: name.into(), value: Some(value) })
    }

    /// A backslash stands for the character behind it (RFC 2616 §2.2).
    fn quoted(&mut self) -> Result<Cow<'a, str>, LinkError> {
        self.at += 1;
        let mut plain = self.at;
        let mut unescaped = String::new();
        let text = self.text;
        loop {
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    unescaped.push_str(&text[plain..self.at]);
                    let next = text[self.at + 1..].chars().next();
                    let Some(next) = next.filter(|c| *c == '\t' || !c.is_ascii_control()) else {
                        return Err(self.fault(LinkFault::Value));
                    };
                    unescaped.push(next);
                    self.at += 1 + next.len_utf8();
                    plain = self.at;
                }
                Some(b) if b != b'\t' && b.is_ascii_control() => return Err(self.fault(LinkFault::Value)),
                // `plain` and the backslash stand on borders of characters, whatever is passed here.
                Some(_) => self.at += 1,
                None => return Err(self.fault(LinkFault::Value)),
            }
        }
        let last = &text[plain..self.at];
        self.at += 1;
        if unescaped.is_empty() {
            return Ok(Cow::Borrowed(last));
        }
        unescaped.push_str(last);
        Ok(Cow::Owned(unescaped))
    }

    fn run(&mut self, belongs: fn(u8) -> bool) -> &'a str {
        let start = self.at;
        while self.peek().is_some_and(belongs) {
            self.at += 1;
        }
        &self.text[start..self.at]
    }

    fn skip_blanks(&mut self) {
        self.run(|b| matches!(b, b' ' | b'\t' | b'\r' | b'\n'));
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn fault(&self, fault: LinkFault) -> LinkError {
        LinkError { offset: self.at, fault }
    }
}

impl<'a> Iterator for Links<'a> {
    type Item = Result<Link<'a>, LinkError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let link = self.link();
        self.done |= link.is_err();
        Some(link)
    }
}

/// Reads a whole payload.
pub fn parse(payload: &[u8]) -> Result<Vec<Link<'_>>, LinkError> {
    Links::new(payload)?.collect()
}

/// Characters of a URI reference (RFC 3986 §2).
fn is_uri(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&b)
}

/// `parmname` of RFC 5987, with the star of an extended name.
fn is_name(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$&+-.^_`|~*".contains(&b)
}

/// `ptokenchar` of RFC 6690.
fn is_token(b: u8) -> bool {
    b.is_ascii_graphic() && !b"\",;\\".contains(&b)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fault(payload: &str) -> (usize, LinkFault) {
        let error = parse(payload.as_bytes()).unwrap_err();
        (error.offset, error.fault)
    }

    #[test]
    fn an_error_says_where() {
        assert_eq!(fault("  "), (2, LinkFault::Empty));
        assert_eq!(fault("</1>,</2"), (8, LinkFault::Target));
        assert_eq!(fault("</1>;"), (5, LinkFault::Name));
        assert_eq!(fault("</1>,"), (5, LinkFault::Link));
        assert_eq!(fault("</1>x"), (4, LinkFault::Separator));
        assert_eq!(fault("</1>;a=\"b\"c"), (10, LinkFault::Separator));
        assert_eq!(fault("</1>;a=1;ct=1;ct=2"), (14, LinkFault::Repeated));
        assert_eq!(parse(b"</1>;a=\"\xff\"").unwrap_err().fault, LinkFault::Utf8);
    }

    #[test]
    fn links_and_attributes_are_bounded() {
        let many = vec!["</1>"; MAX_LINKS + 1].join(",");
        assert_eq!(fault(&many).1, LinkFault::TooMany);
        assert_eq!(parse(&many.as_bytes()[..many.len() - 5]).unwrap().len(), MAX_LINKS);
        assert_eq!(fault(&format!("</1>{}", ";a".repeat(MAX_ATTRIBUTES + 1))).1, LinkFault::TooMany);
    }

    #[test]
    fn an_empty_value_exists_in_quotes_only() {
        assert_eq!(parse(b"</1>;a=\"\"").unwrap()[0].attributes[0].value.as_deref(), Some(""));
        assert_eq!(fault("</1>;a="), (7, LinkFault::Value));
        assert_eq!(fault("</1>;a=;b"), (7, LinkFault::Value));
    }

    #[test]
    fn control_characters_are_in_no_value() {
        assert_eq!(fault("</1>;a=\"\u{e}\""), (8, LinkFault::Value));
        assert_eq!(fault("</1>;a=\"\\\u{e}\""), (8, LinkFault::Value));
    }

    #[test]
    fn text_in_quotes_may_be_any_utf8() {
        let links = parse("</1>;title=\"é\\é\\\"\"".as_bytes()).unwrap();
        assert_eq!(links[0].attribute("title"), Some("éé\""));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(payload in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&payload);
        }

        #[test]
        fn any_text_of_links_is_read_or_refused(payload in "[</>;,=\"\\\\ a1é%]{0,60}") {
            let _ = parse(payload.as_bytes());
        }

        #[test]
        fn written_links_read_back(
            links in proptest::collection::vec(
                ("/[a-z0-9]{0,5}", proptest::collection::vec(("[a-z]{3}", proptest::option::of("[ -~é]{0,8}")), 0..4)),
                1..5,
            )
        ) {
            let links: Vec<Link<'_>> = links
                .iter()
                .map(|(target, attributes)| Link {
                    target: target.into(),
                    attributes: attributes
                        .iter()
                        .map(|(name, value)| Attribute { name: name.into(), value: value.as_deref().map(Into::into) })
                        .collect(),
                })
                .collect();
            let payload = write(&links);
            prop_assert!(parse(payload.as_bytes()).unwrap() == links, "{}", payload);
        }
    }
}
