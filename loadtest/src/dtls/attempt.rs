//! Handshakes that come to nothing, in every way that a server must survive.
//!
//! ```text
//! hello ─▶ HelloVerifyRequest ─▶ hello + cookie ─▶ ServerHello … Done ─▶ keys, Finished
//!   └ NoCookie, Noise                └ SilentAfterCookie                └ all other ways end or go wrong here
//! ```

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;

use data_encoding::HEXLOWER;
use godwit_dtls::Secret;
use godwit_dtls::alert::{Alert, AlertDescription};
use godwit_dtls::cid::CID_LEN;
use godwit_dtls::client::{Client, Context, Credential, Output, Settings};
use godwit_dtls::message::{Fragment, MessageType};
use godwit_dtls::record::{ContentType, HEADER, Header, Records};
use godwit_dtls::signature::SigningKey;
use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};
use ring::hmac;
use ring::rand::SystemRandom;
use serde::Serialize;

use super::credentials::{Line, seeded};
use crate::error::Error;
use crate::random::Random;

/// How a handshake goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Way {
    /// The hello is all that comes.
    NoCookie,
    /// Datagrams that look like records, or like nothing.
    Noise,
    /// Nothing after the hello with the cookie.
    SilentAfterCookie,
    /// Nothing after the key exchange, with a good key.
    SilentAfterKeys,
    /// A device's identity, another key.
    WrongKey,
    /// An identity that nobody has.
    UnknownIdentity,
    /// A good key, but a Finished that was damaged on its way.
    DamagedFinished,
    /// A raw public key that nobody has.
    UnknownRawKey,
    /// A certificate of an authority that nobody trusts.
    UntrustedCertificate,
    /// A device's certificate in the hands of somebody without its key.
    StolenCertificate,
    /// An alert in the place of the last flight.
    GivesUp,
    /// Pieces of a message that is never whole.
    HalfAMessage,
    /// Noise in the place of the last flight.
    Garbage,
    /// The same address begins again and again.
    StartsOver,
}

impl Way {
    /// Each of them.
    pub(crate) const ALL: [Self; 14] = [
        Self::NoCookie,
        Self::Noise,
        Self::SilentAfterCookie,
        Self::SilentAfterKeys,
        Self::WrongKey,
        Self::UnknownIdentity,
        Self::DamagedFinished,
        Self::UnknownRawKey,
        Self::UntrustedCertificate,
        Self::StolenCertificate,
        Self::GivesUp,
        Self::HalfAMessage,
        Self::Garbage,
        Self::StartsOver,
    ];
}

/// How often a client begins in all that starts over.
const STARTS: u8 = 3;

/// What the attackers know and have.
pub(crate) struct Loot {
    /// Of a device.
    identity: String,
    /// What belongs to it.
    key: Secret,
    /// A device's, without its key.
    pub(crate) certificate: Option<Vec<u8>>,
    /// Keys and a certificate of their own.
    own_key: Arc<SigningKey>,
    own_certificate: Vec<u8>,
}

impl Loot {
    /// `psk_seed` as the devices of a run have it; the certificate is the first of a credentials file.
    pub(crate) fn new(
        identity: &str,
        psk_seed: &str,
        credentials: Option<&Path>,
        random: &SystemRandom,
    ) -> Result<Self, Error> {
        let seed = hmac::Key::new(hmac::HMAC_SHA256, psk_seed.as_bytes());
        let certificate = credentials.map(first_certificate).transpose()?;
        let (pkcs8, own_certificate) = self_signed().map_err(Error::OwnKey)?;
        let own_key =
            SigningKey::from_pkcs8(&pkcs8, random).map_err(|error| Error::OwnKey(io::Error::other(error)))?;
        Ok(Self {
            identity: identity.to_owned(),
            key: Secret::new(seeded(&seed, identity)),
            certificate,
            own_key: Arc::new(own_key),
            own_certificate,
        })
    }

    fn credential(&self, way: Way) -> Credential {
        let psk = |identity: &str, key: Secret| Credential::Psk { identity: identity.into(), key };
        let own = self.own_key.clone();
        match way {
            Way::WrongKey => psk(&self.identity, Secret::new(*b"not the right one")),
            Way::UnknownIdentity => psk("nobody", self.key.clone()),
            Way::UnknownRawKey => Credential::RawPublicKey(own),
            Way::UntrustedCertificate => {
                Credential::X509 { key: own, chain: [self.own_certificate.clone()].into() }
            }
            Way::StolenCertificate => {
                let chain = [self.certificate.clone().unwrap_or_default()].into();
                Credential::X509 { key: own, chain }
            }
            _ => psk(&self.identity, self.key.clone()),
        }
    }
}

/// PKCS#8 and certificate of somebody whom nobody knows.
fn self_signed() -> io::Result<(Vec<u8>, Vec<u8>)> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(io::Error::other)?;
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "nobody");
    let certificate = params.self_signed(&key).map_err(io::Error::other)?;
    Ok((key.serialized_der().to_vec(), certificate.der().to_vec()))
}

fn first_certificate(path: &Path) -> Result<Vec<u8>, Error> {
    let fault = |error| Error::File { flag: "--credentials", path: path.into(), error };
    let mut text = String::new();
    BufReader::new(File::open(path).map_err(fault)?).read_line(&mut text).map_err(fault)?;
    let line: Line = serde_json::from_str(&text).map_err(|error| fault(error.into()))?;
    let certificate = line.certificate.and_then(|hex| HEXLOWER.decode(hex.as_bytes()).ok());
    certificate.ok_or_else(|| fault(io::Error::other("no \"certificate\" in its first line")))
}

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The server's answer is to come.
    Wait,
    /// It went wrong as it should.
    Done,
    /// The server ended it before.
    Refused,
}

/// One handshake of one address.
pub(crate) struct Attempt {
    pub(crate) way: Way,
    client: Client,
    /// Flights that the client has sent since it began.
    flights: u8,
    starts: u8,
}

impl Attempt {
    /// Begins; `sent` takes the datagrams.
    pub(crate) fn begin(
        way: Way,
        settings: &Arc<Settings>,
        loot: &Loot,
        cx: Context<'_>,
        random: &mut Random,
        sent: impl FnMut(&[u8]),
    ) -> (Self, Step) {
        // One half of the clients has Connection IDs.
        let cid = random.below(2) == 0;
        let client = Client::new(settings.clone(), cid.then_some(&[3, 1, 2, 3][..]));
        let mut attempt = Self { way, client, flights: 0, starts: 1 };
        let mut outputs = Vec::new();
        attempt.client.start(cx, loot.credential(way), false, &mut outputs);
        let step = attempt.perform(outputs, loot, cx, random, sent);
        (attempt, step)
    }

    /// Takes a datagram of the server.
    pub(crate) fn handle(
        &mut self,
        datagram: &[u8],
        loot: &Loot,
        cx: Context<'_>,
        random: &mut Random,
        sent: impl FnMut(&[u8]),
    ) -> Step {
        let mut outputs = Vec::new();
        self.client.handle_datagram(cx, datagram, &mut outputs);
        self.perform(outputs, loot, cx, random, sent)
    }

    fn perform(
        &mut self,
        outputs: Vec<Output>,
        loot: &Loot,
        cx: Context<'_>,
        random: &mut Random,
        mut sent: impl FnMut(&[u8]),
    ) -> Step {
        let refused = outputs.iter().any(|output| matches!(output, Output::Closed(_)));
        let mut flight: Vec<Vec<u8>> = outputs
            .into_iter()
            .filter_map(|output| match output {
                Output::Transmit(datagram) => Some(datagram),
                _ => None,
            })
            .collect();
        if refused {
            return Step::Refused;
        }
        if flight.is_empty() {
            return Step::Wait;
        }
        self.flights += 1;
        let over = match (self.flights, self.way) {
            (1, Way::Noise) => {
                flight = (0..3).map(|_| noise(random)).collect();
                true
            }
            (1, Way::NoCookie) | (2, Way::SilentAfterCookie) => true,
            (1 | 2, _) => false,
            (_, Way::StartsOver) if self.starts < STARTS => {
                self.starts += 1;
                self.flights = 0;
                let mut outputs = Vec::new();
                self.client.start(cx, loot.credential(self.way), false, &mut outputs);
                return self.perform(outputs, loot, cx, random, sent);
            }
            (_, way) => {
                spoil(way, &mut flight, random);
                true
            }
        };
        flight.iter().for_each(|datagram| sent(datagram));
        if over { Step::Done } else { Step::Wait }
    }
}

/// Makes of a client's last flight what its way wants.
fn spoil(way: Way, flight: &mut Vec<Vec<u8>>, random: &mut Random) {
    match way {
        Way::StartsOver => flight.clear(),
        Way::SilentAfterKeys => {
            flight.iter_mut().for_each(before_finished);
            flight.retain(|datagram| !datagram.is_empty());
        }
        Way::DamagedFinished => {
            if let Some(last) = flight.last_mut().and_then(|datagram| datagram.last_mut()) {
                *last ^= 1;
            }
        }
        Way::GivesUp => {
            let alert = Alert::fatal(AlertDescription::USER_CANCELED).to_bytes();
            *flight = vec![plain(ContentType::Alert, 9, &alert)];
        }
        Way::HalfAMessage => {
            *flight = (0..4).map(|number| piece(number, random)).collect();
        }
        Way::Garbage => {
            *flight = (0..6).map(|_| noise(random)).collect();
        }
        _ => {}
    }
}

/// Cuts off ChangeCipherSpec and what follows.
fn before_finished(datagram: &mut Vec<u8>) {
    let before = Records::parse(datagram, CID_LEN)
        .map_while(Result::ok)
        .take_while(|record| record.content_type == ContentType::Handshake && record.epoch == 0)
        .map(|record| HEADER + record.fragment.len())
        .sum();
    datagram.truncate(before);
}

fn plain(content_type: ContentType, number: u64, plaintext: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::new();
    Header::plain(content_type, number).encode_plain(plaintext, &mut datagram);
    datagram
}

/// A part of one of the next messages.
fn piece(number: u64, random: &mut Random) -> Vec<u8> {
    let total = 400 + random.below(16_000);
    let bytes = [7; 300];
    let offset = random.below(total - bytes.len() + 1);
    let seq = 2 + random.below(3) as u16;
    let mut fragment = Vec::new();
    Fragment { kind: MessageType::CERTIFICATE, total, seq, offset, bytes: &bytes }.encode(&mut fragment);
    plain(ContentType::Handshake, 9 + number, &fragment)
}

/// Three in four have the header of a record, of any content type and of epoch 0 or 1.
fn noise(random: &mut Random) -> Vec<u8> {
    let length = 1 + random.below(300);
    let mut bytes: Vec<u8> = (0..length).map(|_| random.next() as u8).collect();
    if random.below(4) == 0 {
        return bytes;
    }
    let content_type = ContentType::from(20 + random.below(6) as u8);
    bytes = plain(content_type, random.below(64) as u64, &bytes);
    bytes[4] = random.below(2) as u8;
    bytes
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn begin(way: Way) -> (Step, Vec<Vec<u8>>) {
        let random = SystemRandom::new();
        let loot = Loot::new("device", "seed", None, &random).unwrap();
        let cx = Context { now: Instant::now(), random: &random };
        let mut sent = Vec::new();
        let send = |datagram: &[u8]| sent.push(datagram.to_vec());
        let settings = Arc::new(Settings::default());
        let (_, step) = Attempt::begin(way, &settings, &loot, cx, &mut Random::new(1), send);
        (step, sent)
    }

    #[test]
    fn noise_and_a_lone_hello_want_no_answer_and_the_other_ways_do() {
        for way in Way::ALL {
            let (step, sent) = begin(way);
            let alone = matches!(way, Way::NoCookie | Way::Noise);
            assert_eq!(step, if alone { Step::Done } else { Step::Wait }, "{way:?}");
            assert_eq!(sent.len(), if way == Way::Noise { 3 } else { 1 }, "{way:?}");
        }
    }

    #[test]
    fn a_last_flight_is_cut_before_its_change_cipher_spec() {
        let mut datagram = plain(ContentType::Handshake, 1, &[16; 20]);
        let keys = datagram.clone();
        datagram.extend(plain(ContentType::ChangeCipherSpec, 2, &[1]));
        datagram.extend(plain(ContentType::Handshake, 3, &[20; 40]));
        before_finished(&mut datagram);
        assert_eq!(datagram, keys);
    }
}
