//! The rows, and those that a peer can't do.

use std::{collections::BTreeMap, fmt};

/// How peer and server prove who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Psk,
    /// Raw public keys.
    Rpk,
    /// X.509: a certificate signed by the authority that the server trusts.
    Ca,
    /// X.509 with an authority in between, whose certificate the client sends along.
    Intermediate,
    /// X.509 with a certificate that signs itself and is stored with the device.
    SelfSigned,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Mode::Psk => "PSK",
            Mode::Rpk => "raw public key",
            Mode::Ca => "X.509, CA",
            Mode::Intermediate => "X.509, intermediate",
            Mode::SelfSigned => "X.509, self-signed",
        })
    }
}

/// A cipher suite by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Suite(pub u16);

pub(crate) const PSK_CCM_8: Suite = Suite(0xc0a8);
pub(crate) const PSK_CBC: Suite = Suite(0x00ae);
pub(crate) const ECDSA_CCM_8: Suite = Suite(0xc0ae);
pub(crate) const ECDSA_CBC: Suite = Suite(0xc023);
pub(crate) const ECDSA_GCM: Suite = Suite(0xc02b);

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match *self {
            PSK_CCM_8 | ECDSA_CCM_8 => "CCM_8",
            PSK_CBC | ECDSA_CBC => "CBC_SHA256",
            ECDSA_GCM => "GCM_SHA256",
            Suite(_) => "another",
        })
    }
}

/// A peer and what it is tried with.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    pub(crate) modes: &'static [(Mode, &'static [Suite])],
}

const PSK: (Mode, &[Suite]) = (Mode::Psk, &[PSK_CCM_8, PSK_CBC]);
const CERTIFIED: &[Suite] = &[ECDSA_CCM_8, ECDSA_CBC, ECDSA_GCM];

pub(crate) const PEERS: &[Peer] = &[
    Peer { name: "OpenSSL", version: "3.0", modes: &[PSK, (Mode::Ca, CERTIFIED)] },
    Peer { name: "GnuTLS", version: "3.7", modes: &[PSK, (Mode::Rpk, CERTIFIED), (Mode::Ca, CERTIFIED)] },
    Peer {
        name: "Scandium",
        version: "4.0.0-M6, Leshan 2.0.0-M18",
        modes: &[
            PSK,
            (Mode::Rpk, CERTIFIED),
            (Mode::Ca, CERTIFIED),
            (Mode::Intermediate, &[ECDSA_CCM_8]),
            (Mode::SelfSigned, &[ECDSA_CCM_8]),
        ],
    },
    Peer {
        name: "libcoap (OpenSSL)",
        version: "4.3.1",
        modes: &[(Mode::Psk, &[PSK_CCM_8]), (Mode::Ca, &[ECDSA_CCM_8])],
    },
    Peer {
        name: "libcoap (GnuTLS)",
        version: "4.3.1",
        modes: &[(Mode::Psk, &[PSK_CCM_8]), (Mode::Rpk, &[ECDSA_CCM_8]), (Mode::Ca, &[ECDSA_CCM_8])],
    },
    Peer { name: "tinydtls (aiocoap)", version: "DTLSSocket 0.2.3", modes: &[(Mode::Psk, &[PSK_CCM_8])] },
    Peer { name: "pion", version: "3.1.15", modes: &[PSK, (Mode::Ca, &[ECDSA_CCM_8, ECDSA_GCM])] },
    Peer {
        name: "webrtc-dtls",
        version: "0.12",
        modes: &[(Mode::Psk, &[PSK_CCM_8]), (Mode::Ca, &[ECDSA_CCM_8, ECDSA_GCM])],
    },
    Peer { name: "dimpl", version: "0.9", modes: &[(Mode::Psk, &[PSK_CCM_8]), (Mode::Ca, &[ECDSA_GCM])] },
    Peer { name: "Mbed TLS", version: "python-mbedtls 2.10.1", modes: &[PSK] },
    Peer { name: "node-coap-client", version: "2.1.0", modes: &[(Mode::Psk, &[PSK_CCM_8])] },
];

/// What is set up once for a full handshake and, where the peer can, for an abbreviated one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    pub(crate) peer: &'static str,
    pub(crate) mode: Mode,
    pub(crate) suite: Suite,
    pub(crate) cid: bool,
}

impl Case {
    pub(crate) fn all() -> impl Iterator<Item = Case> {
        let of = |peer: &'static Peer, mode, suite: &Suite| {
            [false, true].map(|cid| Case { peer: peer.name, mode, suite: *suite, cid })
        };
        PEERS.iter().flat_map(move |peer| {
            peer.modes
                .iter()
                .flat_map(move |(mode, suites)| suites.iter().flat_map(move |suite| of(peer, *mode, suite)))
        })
    }

    pub(crate) fn rows(self) -> impl Iterator<Item = Row> {
        [false, true].into_iter().map(move |resumed| Row { case: self, resumed })
    }

    /// Whether the peer is to resume as well.
    pub(crate) fn resumes(self) -> bool {
        Row { case: self, resumed: true }.skipped().is_none()
    }

    /// A name for its device.
    pub(crate) fn endpoint(&self) -> String {
        let text = format!("{} {} {:04x} {}", self.peer, self.mode, self.suite.0, u8::from(self.cid));
        text.to_lowercase().replace(|letter: char| !letter.is_ascii_alphanumeric(), "-")
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let cid = if self.cid { "CID" } else { "no CID" };
        write!(f, "{}, {}, {}, {cid}", self.peer, self.mode, self.suite)
    }
}

/// A row of the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    pub(crate) case: Case,
    pub(crate) resumed: bool,
}

impl Row {
    /// Why the peer can't do it.
    pub(crate) fn skipped(&self) -> Option<&'static str> {
        SKIPS.iter().find(|skip| skip.covers(self)).map(|skip| skip.reason)
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}, {}", self.case, if self.resumed { "resumed" } else { "full" })
    }
}

/// Rows that are allowed not to run; what is `None` is any.
#[derive(Debug)]
pub(crate) struct Skip {
    peer: &'static str,
    suite: Option<Suite>,
    cid: Option<bool>,
    resumed: Option<bool>,
    reason: &'static str,
}

impl Skip {
    pub(crate) fn covers(&self, row: &Row) -> bool {
        self.peer == row.case.peer
            && self.suite.is_none_or(|suite| suite == row.case.suite)
            && self.cid.is_none_or(|cid| cid == row.case.cid)
            && self.resumed.is_none_or(|resumed| resumed == row.resumed)
    }
}

const fn no_cid(peer: &'static str) -> Skip {
    Skip { peer, suite: None, cid: Some(true), resumed: None, reason: "it has no connection ids" }
}

const fn no_resumption(peer: &'static str) -> Skip {
    Skip { peer, suite: None, cid: None, resumed: Some(true), reason: "it keeps no sessions to resume" }
}

/// The committed list: any other row that can't be run fails.
pub(crate) const SKIPS: &[Skip] = &[
    no_cid("OpenSSL"),
    no_cid("GnuTLS"),
    no_cid("libcoap (OpenSSL)"),
    no_resumption("libcoap (OpenSSL)"),
    no_cid("libcoap (GnuTLS)"),
    no_resumption("libcoap (GnuTLS)"),
    no_cid("tinydtls (aiocoap)"),
    no_resumption("tinydtls (aiocoap)"),
    Skip {
        peer: "pion",
        suite: Some(PSK_CBC),
        cid: Some(true),
        resumed: None,
        reason: "it computes a wrong MAC for CBC with a connection id",
    },
    no_cid("webrtc-dtls"),
    no_resumption("webrtc-dtls"),
    no_cid("dimpl"),
    no_resumption("dimpl"),
    no_cid("Mbed TLS"),
    no_resumption("Mbed TLS"),
    no_cid("node-coap-client"),
    no_resumption("node-coap-client"),
];

/// The table as Markdown. Rows that run are those that pass: a failing one fails its test.
pub(crate) fn rendered() -> String {
    let mut notes: BTreeMap<&str, usize> = BTreeMap::new();
    let mut order = Vec::new();
    let mut text = String::from(
        "| peer | mode | suite | full | resumed | full, CID | resumed, CID |\n|---|---|---|---|---|---|---|\n",
    );
    let mut before = "";
    for pair in Case::all().collect::<Vec<_>>().chunks(2) {
        let case = pair[0];
        let peer = PEERS.iter().find(|peer| peer.name == case.peer).unwrap();
        let name =
            if before == peer.name { String::new() } else { format!("{} {}", peer.name, peer.version) };
        before = peer.name;
        text += &format!("| {name} | {} | {} |", case.mode, case.suite);
        for row in pair.iter().flat_map(|case| case.rows()) {
            match row.skipped() {
                None => text += " yes |",
                Some(reason) => {
                    let number = *notes.entry(reason).or_insert_with(|| {
                        order.push(reason);
                        order.len()
                    });
                    text += &format!(" – ({number}) |");
                }
            }
        }
        text.push('\n');
    }
    text.push('\n');
    for (number, reason) in order.iter().enumerate() {
        text += &format!("({}) {reason}  \n", number + 1);
    }
    text
}
