//! A session as bytes: a part that never changes, to be sealed once, and numbers that are written often.

use std::fmt;

use zeroize::Zeroizing;

use crate::{
    cid::Cid,
    config::Mode,
    fate::Dropped,
    prf::MasterSecret,
    protection::Keys,
    record::{MAX_NUMBER, Records},
    session::{Secrets, ServerNameHash, Session, SessionId, SessionName, tells_of_its_handshake},
    subject::Subject,
    suite::CipherSuite,
    window::ReplayWindow,
    wire::{Malformed, Reader},
};

/// A session outside of its association: what a node stores, hands over and resumes.
///
/// For a PSK session with 8-byte Connection IDs and a 19-byte subject the secrets take 173 bytes and the numbers 34 to 64.
#[derive(Clone)]
pub struct StoredSession {
    pub(crate) secrets: Secrets,
    /// What moves with each record.
    pub numbers: Numbers,
}

/// Record numbers and what may have to be repeated; nothing in it is secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Numbers {
    /// Number of the next record to send.
    pub write_next: u64,
    /// No higher number can have been sent before the next write.
    pub write_mark: u64,
    /// Which received numbers are fresh.
    pub window: ReplayWindow,
    /// What the last handshake left over.
    pub stage: Stage,
}

/// How far the handshake of a stored session got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Nothing of it matters any more.
    Settled,
    /// The client may not have got our last flight: its Finished is to be answered again.
    Answer(FinishedAnswer),
    /// The client's Finished of an abbreviated handshake is still to come, with this content.
    Provisional([u8; 12]),
}

/// What answers a repeated client Finished after a full handshake: our ChangeCipherSpec and Finished, made anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinishedAnswer {
    /// The content of our Finished.
    pub(crate) verify_data: [u8; 12],
    /// The message sequence number of our Finished.
    pub(crate) message_seq: u16,
    /// The next record number in epoch 0.
    pub(crate) plain_next: u64,
    /// Unix time of the handshake, in seconds; the answer is kept for [`FinishedAnswer::KEPT`].
    pub(crate) since: u64,
}

impl FinishedAnswer {
    /// Seconds after which no client repeats its Finished any more (twice the maximum segment lifetime, RFC 6347 §4.2.4).
    pub const KEPT: u64 = 240;
}

/// How record numbers go on after a resume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbering {
    /// The stored numbers are exact: the session was passive or handed over.
    Exact,
    /// An owner died with them: ours go on at the next multiple of 2²⁰ above the mark, plus 3.
    Jump,
}

/// Stored bytes that can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoredError {
    /// From a newer release.
    #[error("version {0} of a stored session is unknown")]
    Version(u8),
    /// Cut short, too long or with impossible values.
    #[error("a damaged stored session")]
    Damaged,
}

impl From<Malformed> for StoredError {
    fn from(_: Malformed) -> Self {
        Self::Damaged
    }
}

impl StoredSession {
    /// The part that never changes, version 1. Seal it: it holds keys and the master secret.
    #[must_use]
    pub fn encode_secrets(&self) -> Zeroizing<Vec<u8>> {
        let secrets = &self.secrets;
        let flags = u8::from(secrets.extended_master_secret)
            | u8::from(secrets.encrypt_then_mac) << 1
            | u8::from(secrets.names_records) << 2
            | u8::from(secrets.server_name.is_some()) << 3
            | mode_code(secrets.mode) << 4;
        // Room for everything at once: a vector that grows leaves copies of keys behind.
        let mut out = Zeroizing::new(Vec::with_capacity(384));
        out.push(VERSION);
        out.extend_from_slice(&secrets.suite.id().to_be_bytes());
        out.push(flags);
        out.push(secrets.max_fragment);
        out.extend_from_slice(&secrets.name.0);
        out.extend_from_slice(&secrets.id.0);
        out.extend_from_slice(&secrets.established_at.to_be_bytes());
        out.extend_from_slice(secrets.master.as_bytes());
        if let Some(hash) = secrets.server_name {
            out.extend_from_slice(&hash.0);
        }
        let (read, write) = (secrets.read.keys().to_bytes(), secrets.write.keys().to_bytes());
        for part in [&read[..], &write, &secrets.peer_cid, secrets.subject.as_bytes()] {
            // Each is bounded far below 256 where it is made.
            out.push(part.len() as u8);
            out.extend_from_slice(part);
        }
        out
    }

    /// From [`Self::encode_secrets`] and [`Numbers::encode`], of this or an earlier version.
    ///
    /// # Errors
    /// See [`StoredError`].
    pub fn decode(secrets: &[u8], numbers: &[u8]) -> Result<Self, StoredError> {
        Ok(Self { secrets: decode_secrets(secrets)?, numbers: Numbers::decode(numbers)? })
    }

    /// Whether the first protected record of a datagram is fresh and from who holds the keys; its number. Changes nothing:
    /// for a look at a stored session before it is claimed.
    ///
    /// # Errors
    /// Why that record, or the datagram for want of one, is to be dropped.
    pub fn authenticate(&self, datagram: &[u8]) -> Result<u64, Dropped> {
        let cid_len = self.secrets.cid_len();
        for record in Records::parse(datagram, cid_len) {
            let record = record.map_err(|_| Dropped::Malformed)?;
            if record.epoch != 1 {
                continue;
            }
            if !self.secrets.is_addressed(&record) {
                return Err(Dropped::NoKeys);
            }
            if !self.numbers.window.fresh(record.number) {
                return Err(Dropped::Replayed);
            }
            self.secrets.read.open(&record).map_err(|_| Dropped::NotAuthentic)?;
            return Ok(record.number);
        }
        Err(Dropped::Unprotected)
    }
}

tells_of_its_handshake!(StoredSession);

impl fmt::Debug for StoredSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredSession")
            .field("id", &self.secrets.id)
            .field("numbers", &self.numbers)
            .finish_non_exhaustive()
    }
}

impl Numbers {
    /// Version 1: version, stage, then four big-endian 64-bit numbers, in the order of the fields.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        out.push(VERSION);
        out.push(match self.stage {
            Stage::Settled => SETTLED,
            Stage::Answer(_) => ANSWER,
            Stage::Provisional(_) => PROVISIONAL,
        });
        for number in [self.write_next, self.write_mark, self.window.floor(), self.window.bits()] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        match &self.stage {
            Stage::Settled => {}
            Stage::Answer(answer) => {
                out.extend_from_slice(&answer.verify_data);
                out.extend_from_slice(&answer.message_seq.to_be_bytes());
                out.extend_from_slice(&answer.plain_next.to_be_bytes());
                out.extend_from_slice(&answer.since.to_be_bytes());
            }
            Stage::Provisional(expected) => out.extend_from_slice(expected),
        }
        out
    }

    /// From [`Self::encode`], of this or an earlier version.
    ///
    /// # Errors
    /// See [`StoredError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, StoredError> {
        let mut reader = Reader::new(bytes);
        version(&mut reader)?;
        let stage = reader.u8()?;
        let (write_next, write_mark) = (number(&mut reader)?, number(&mut reader)?);
        let window = ReplayWindow::from_parts(number(&mut reader)?, u64(&mut reader)?);
        let stage = match stage {
            SETTLED => Stage::Settled,
            ANSWER => Stage::Answer(FinishedAnswer {
                verify_data: *reader.array()?,
                message_seq: reader.u16()?,
                plain_next: number(&mut reader)?,
                since: u64(&mut reader)?,
            }),
            PROVISIONAL => Stage::Provisional(*reader.array()?),
            _ => return Err(StoredError::Damaged),
        };
        reader.finish()?;
        Ok(Self { write_next, write_mark, window, stage })
    }

    /// The number that a session goes on with.
    pub(crate) fn first_number(&self, numbering: Numbering) -> u64 {
        match numbering {
            Numbering::Exact => self.write_next,
            Numbering::Jump => {
                (self.write_mark / JUMP).saturating_add(1).saturating_mul(JUMP).saturating_add(3)
            }
        }
    }
}

impl Session {
    pub(crate) fn restore(secrets: Secrets, numbers: &Numbers, numbering: Numbering) -> Self {
        let write_next = numbers.first_number(numbering);
        let write_mark = numbers.write_mark.max(write_next);
        Self { secrets, write_next, write_mark, window: numbers.window, unreported: 0 }
    }
}

fn decode_secrets(bytes: &[u8]) -> Result<Secrets, StoredError> {
    let mut reader = Reader::new(bytes);
    version(&mut reader)?;
    let suite = CipherSuite::from_id(reader.u16()?).ok_or(StoredError::Damaged)?;
    let flags = reader.u8()?;
    let has = |bit: u8| flags >> bit & 1 == 1;
    let max_fragment = reader.u8()?;
    let name = Cid(*reader.array()?);
    let id = SessionId(*reader.array()?);
    let established_at = u64(&mut reader)?;
    let master = MasterSecret::new(*reader.array()?);
    let server_name = if has(3) { Some(ServerNameHash(*reader.array()?)) } else { None };
    let (read, write) = (keys(reader.vector8()?)?.into(), keys(reader.vector8()?)?.into());
    let peer_cid = reader.vector8()?.into();
    let subject = Subject::new(reader.vector8()?).map_err(|_| StoredError::Damaged)?;
    reader.finish()?;
    Ok(Secrets {
        suite,
        mode: mode(flags >> 4)?,
        extended_master_secret: has(0),
        encrypt_then_mac: has(1),
        names_records: has(2),
        max_fragment,
        name,
        id,
        read,
        write,
        master,
        server_name,
        peer_cid,
        subject,
        established_at,
    })
}

fn version(reader: &mut Reader<'_>) -> Result<(), StoredError> {
    match reader.u8()? {
        VERSION => Ok(()),
        other => Err(StoredError::Version(other)),
    }
}

fn keys(bytes: &[u8]) -> Result<Keys, StoredError> {
    match Keys::read(bytes) {
        Some((keys, [])) => Ok(keys),
        _ => Err(StoredError::Damaged),
    }
}

fn u64(reader: &mut Reader<'_>) -> Result<u64, Malformed> {
    Ok(u64::from_be_bytes(*reader.array()?))
}

/// A record number, or one above the highest.
fn number(reader: &mut Reader<'_>) -> Result<u64, StoredError> {
    Some(u64(reader)?).filter(|number| *number <= MAX_NUMBER + 1).ok_or(StoredError::Damaged)
}

fn mode_code(mode: Mode) -> u8 {
    match mode {
        Mode::Psk => 0,
        Mode::RawPublicKey => 1,
        Mode::X509 => 2,
    }
}

fn mode(code: u8) -> Result<Mode, StoredError> {
    match code {
        0 => Ok(Mode::Psk),
        1 => Ok(Mode::RawPublicKey),
        2 => Ok(Mode::X509),
        _ => Err(StoredError::Damaged),
    }
}

const VERSION: u8 = 1;
const SETTLED: u8 = 0;
const ANSWER: u8 = 1;
const PROVISIONAL: u8 = 2;
const JUMP: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::Cipher;

    fn example() -> StoredSession {
        let keys = |byte| Keys::new(Cipher::Ccm8, &[byte; 16], &[byte + 1; 4], &[]);
        let secrets = Secrets {
            suite: CipherSuite::PskAes128Ccm8,
            mode: Mode::Psk,
            extended_master_secret: true,
            encrypt_then_mac: false,
            names_records: true,
            max_fragment: 2,
            name: Cid([0xc1; 8]),
            id: SessionId([0x1d; 32]),
            read: keys(0x10).into(),
            write: keys(0x20).into(),
            master: MasterSecret::new([0x3a; 48]),
            server_name: None,
            peer_cid: Box::new([0xcc; 8]),
            subject: Subject::new(&[0x5b; 19]).unwrap(),
            established_at: 0x6745_2301,
        };
        let stage = Stage::Answer(FinishedAnswer {
            verify_data: [0xfd; 12],
            message_seq: 4,
            plain_next: 7,
            since: 0x6745_2301,
        });
        let window = ReplayWindow::from_parts(3, 0b101);
        StoredSession { secrets, numbers: Numbers { write_next: 9, write_mark: 65_536, window, stage } }
    }

    fn hex(bytes: &[u8]) -> String {
        data_encoding::HEXLOWER.encode(bytes)
    }

    #[test]
    fn version_1_is_laid_out_like_this_for_ever() {
        let keys = |key: &str, salt: &str| format!("1501{}{}", key.repeat(16), salt.repeat(4));
        let secrets = [
            "01c0a80502".to_owned(),
            "c1".repeat(8),
            "1d".repeat(32),
            "0000000067452301".to_owned(),
            "3a".repeat(48),
            keys("10", "11"),
            keys("20", "21"),
            format!("08{}13{}", "cc".repeat(8), "5b".repeat(19)),
        ];
        let numbers = [
            "01010000000000000009000000000001000000000000000000030000000000000005",
            "fdfdfdfdfdfdfdfdfdfdfdfd000400000000000000070000000067452301",
        ];
        assert_eq!(hex(&example().encode_secrets()), secrets.concat());
        assert_eq!(hex(&example().numbers.encode()), numbers.concat());
    }

    #[test]
    fn what_was_written_is_read_and_written_the_same() {
        let (secrets, numbers) = (example().encode_secrets(), example().numbers.encode());
        let read = StoredSession::decode(&secrets, &numbers).unwrap();
        assert_eq!(read.encode_secrets(), secrets);
        assert_eq!(read.numbers, example().numbers);
        assert_eq!(read.cid(), Some(Cid([0xc1; 8])));
    }

    #[test]
    fn cut_or_lengthened_bytes_are_refused() {
        let (secrets, numbers) = (example().encode_secrets(), example().numbers.encode());
        for len in 0..secrets.len() {
            assert!(StoredSession::decode(&secrets[..len], &numbers).is_err());
        }
        for len in 0..numbers.len() {
            assert!(Numbers::decode(&numbers[..len]).is_err());
        }
        let longer = [&numbers[..], &[0]].concat();
        assert_eq!(Numbers::decode(&longer), Err(StoredError::Damaged));
        assert_eq!(Numbers::decode(&[2]), Err(StoredError::Version(2)));
        for at in [2, 10, 18, 48] {
            let mut beyond = numbers.clone();
            beyond[at] = 1;
            assert_eq!(Numbers::decode(&beyond), Err(StoredError::Damaged), "a number of 57 bits at {at}");
        }
    }

    #[test]
    fn after_a_crash_numbers_jump_above_all_that_may_have_been_sent() {
        let at = |write_mark| Numbers { write_mark, ..example().numbers }.first_number(Numbering::Jump);
        assert_eq!(at(0), (1 << 20) + 3);
        assert_eq!(at((1 << 20) - 1), (1 << 20) + 3);
        assert_eq!(at(1 << 20), (2 << 20) + 3);
        assert_eq!(example().numbers.first_number(Numbering::Exact), 9);
    }

    #[test]
    fn a_sealed_psk_session_with_connection_ids_fits_in_400_bytes() {
        // AES-256-GCM adds a nonce and a tag, the store a version.
        let sealed = 1 + 12 + example().encode_secrets().len() + 16;
        assert!(sealed + example().numbers.encode().len() <= 400);
    }
}
