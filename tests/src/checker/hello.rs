//! Just enough of handshake messages to follow them.

/// Reads fields from the front of bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    /// A number of `bytes` bytes.
    pub(super) fn number(&mut self, bytes: usize) -> Option<u64> {
        Some(self.take(bytes)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// A vector whose length takes `bytes` bytes.
    pub(super) fn vector(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let length = self.number(bytes)?;
        self.take(length as usize)
    }
}

/// ClientHello or ServerHello.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hello {
    pub(super) random: Vec<u8>,
    pub(super) session: Vec<u8>,
    /// The chosen suite of a ServerHello.
    pub(super) suite: u16,
    pub(super) extensions: Vec<(u16, Vec<u8>)>,
}

impl Hello {
    pub(super) fn client(body: &[u8]) -> Option<Hello> {
        let mut reader = Reader(body);
        reader.take(2)?;
        let (random, session) = (reader.take(32)?.to_vec(), reader.vector(1)?.to_vec());
        for bytes in [1, 2, 1] {
            reader.vector(bytes)?;
        }
        Some(Hello { random, session, suite: 0, extensions: extensions(reader)? })
    }

    pub(super) fn server(body: &[u8]) -> Option<Hello> {
        let mut reader = Reader(body);
        reader.take(2)?;
        let (random, session) = (reader.take(32)?.to_vec(), reader.vector(1)?.to_vec());
        let suite = reader.number(2)? as u16;
        reader.take(1)?;
        Some(Hello { random, session, suite, extensions: extensions(reader)? })
    }

    pub(super) fn extension(&self, wanted: u16) -> Option<&[u8]> {
        self.extensions.iter().find(|(kind, _)| *kind == wanted).map(|(_, data)| data.as_slice())
    }

    /// The connection id that the sender wants to receive (RFC 9146 §3).
    pub(super) fn cid(&self) -> Option<Vec<u8>> {
        Reader(self.extension(54)?).vector(1).map(<[u8]>::to_vec)
    }
}

fn extensions(mut reader: Reader) -> Option<Vec<(u16, Vec<u8>)>> {
    if reader.0.is_empty() {
        return Some(Vec::new());
    }
    let mut list = Reader(reader.vector(2)?);
    let mut extensions = Vec::new();
    while !list.0.is_empty() {
        extensions.push((list.number(2)? as u16, list.vector(2)?.to_vec()));
    }
    Some(extensions)
}

/// A handshake message in the making, or whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) kind: u8,
    pub(super) sequence: u16,
    body: Vec<u8>,
    filled: Vec<bool>,
}

impl Message {
    /// A fragment at the front of `reader`; a message where it is the whole one.
    pub(super) fn fragment(reader: &mut Reader) -> Option<Message> {
        let kind = reader.number(1)? as u8;
        let length = reader.number(3)? as usize;
        let sequence = reader.number(2)? as u16;
        let offset = reader.number(3)? as usize;
        let fragment = reader.vector(3)?;
        let mut message = Message { kind, sequence, body: vec![0; length], filled: vec![false; length] };
        message.body.get_mut(offset..offset + fragment.len())?.copy_from_slice(fragment);
        message.filled[offset..offset + fragment.len()].fill(true);
        Some(message)
    }

    /// Adds what another fragment of the same message holds.
    pub(super) fn merge(&mut self, other: &Message) {
        for (place, filled) in other.filled.iter().enumerate() {
            if *filled {
                (self.body[place], self.filled[place]) = (other.body[place], true);
            }
        }
    }

    pub(super) fn alike(&self, other: &Message) -> bool {
        (self.kind, self.sequence, self.body.len()) == (other.kind, other.sequence, other.body.len())
    }

    /// Its body, once all of it is there.
    pub(super) fn body(&self) -> Option<&[u8]> {
        self.filled.iter().all(|filled| *filled).then_some(&self.body)
    }

    /// As it enters the transcript: with a header as if it were one fragment (RFC 6347 §4.2.6).
    pub(super) fn whole(&self) -> Vec<u8> {
        let length = &(self.body.len() as u32).to_be_bytes()[1..];
        [&[self.kind], length, &self.sequence.to_be_bytes(), &[0; 3], length, &self.body].concat()
    }
}
