//! Peers that are programs: of Debian's packages, and ours around libraries of other ecosystems.

use std::process::{Command, Stdio};

use data_encoding::HEXLOWER as HEX;
use godwit_tests::skip;

use crate::{
    peer::{Peer, Process, Result, Start, check_answer, request},
    table::{Case, ECDSA_CBC, ECDSA_CCM_8, Mode, PSK_CBC, PSK_CCM_8},
    world::{MARK, PSK_KEY},
};

/// None, with a word, where the program is missing.
pub(crate) fn start(start: &Start) -> Option<Result<Box<dyn Peer>>> {
    let peer: Box<dyn Peer> = match start.case.peer {
        "OpenSSL" => {
            Box::new(OpenSsl { command: openssl(start), folder: start.folder.clone(), process: None })
        }
        "GnuTLS" => Box::new(GnuTls { command: gnutls(start), resume: false, process: None }),
        "libcoap (OpenSSL)" => Box::new(Libcoap(libcoap("coap-client-openssl", start))),
        "libcoap (GnuTLS)" => Box::new(Libcoap(libcoap("coap-client-gnutls", start))),
        "tinydtls (aiocoap)" => Box::new(Script::start("python", "aiocoap.py", "get", start)?),
        "Mbed TLS" => Box::new(Script::start("python", "mbedtls.py", "send", start)?),
        "pion" => Box::new(Script::start("pion", "", "send", start)?),
        "node-coap-client" => Box::new(Script::start("node", "", "get", start)?),
        other => panic!("no peer {other}"),
    };
    let program = match start.case.peer {
        "OpenSSL" => "openssl",
        "GnuTLS" => "gnutls-cli",
        "libcoap (OpenSSL)" => "coap-client-openssl",
        "libcoap (GnuTLS)" => "coap-client-gnutls",
        _ => return Some(Ok(peer)),
    };
    let there = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if there.is_err() {
        skip(program);
        return None;
    }
    Some(Ok(peer))
}

/// `openssl s_client`, one process per connection.
struct OpenSsl {
    command: Vec<String>,
    folder: std::path::PathBuf,
    process: Option<Process>,
}

fn openssl(start: &Start) -> Vec<String> {
    let Case { mode, suite, .. } = *start.case;
    let cipher = match suite {
        PSK_CCM_8 => "PSK-AES128-CCM8",
        PSK_CBC => "PSK-AES128-CBC-SHA256",
        ECDSA_CCM_8 => "ECDHE-ECDSA-AES128-CCM8",
        ECDSA_CBC => "ECDHE-ECDSA-AES128-SHA256",
        _ => "ECDHE-ECDSA-AES128-GCM-SHA256",
    };
    // At the default security level OpenSSL refuses tags of 64 bits.
    let cipher = format!("{cipher}:@SECLEVEL=0");
    let server = start.server.to_string();
    let mut command: Vec<String> =
        ["openssl", "s_client", "-dtls1_2", "-quiet", "-no_ign_eof", "-no_ticket"].map(String::from).into();
    let key_log = start.key_log();
    let session = start.folder.join("session");
    command.extend(["-connect".into(), server, "-cipher".into(), cipher]);
    command.extend(["-keylogfile".into(), key_log.to_str().unwrap().into()]);
    command.extend(["-sess_out".into(), session.to_str().unwrap().into()]);
    match start.identity {
        _ if mode == Mode::Psk => {
            command.extend([
                "-psk_identity".into(),
                start.case.endpoint(),
                "-psk".into(),
                HEX.encode(PSK_KEY),
            ]);
        }
        Some(identity) => {
            let chain = start.file("chain.pem", identity.chain_pem());
            let key = start.file("key.pem", identity.key_pem());
            command.extend(["-cert".into(), chain, "-key".into(), key, "-verify_return_error".into()]);
            command.extend(["-CAfile".into(), start.world.authority_file()]);
        }
        None => {}
    }
    command
}

impl Peer for OpenSsl {
    fn connect(&mut self) -> Result<()> {
        let session = self.folder.join("session");
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]);
        if let Some(process) = self.process.take() {
            process.end();
            command.arg("-sess_in").arg(session);
        }
        self.process = Some(Process::start(&mut command)?);
        Ok(())
    }

    fn exchange(&mut self) -> Result<()> {
        let process = self.process.as_mut().unwrap();
        let request = request();
        process.send(&request)?;
        process.find("answer", |seen| {
            let is = |seen: &[u8]| check_answer(&request, &[seen, &[0]].concat()).is_ok();
            let start = seen.windows(8).position(is)?;
            Some((start + 8, ()))
        })
    }
}

/// `gnutls-cli --udp`. To resume, it connects twice by itself.
struct GnuTls {
    command: Command,
    resume: bool,
    process: Option<Process>,
}

fn gnutls(start: &Start) -> Command {
    let Case { mode, suite, .. } = *start.case;
    let (exchange, types) = match mode {
        Mode::Psk => ("+PSK", ""),
        Mode::Rpk => ("+ECDHE-ECDSA", ":+CTYPE-CLI-RAWPK:+CTYPE-SRV-RAWPK"),
        _ => ("+ECDHE-ECDSA", ":+CTYPE-CLI-X509:+CTYPE-SRV-X509"),
    };
    let cipher = match suite {
        PSK_CCM_8 | ECDSA_CCM_8 => "+AES-128-CCM-8:+AEAD",
        PSK_CBC | ECDSA_CBC => "+AES-128-CBC:+SHA256",
        _ => "+AES-128-GCM:+AEAD",
    };
    let priority = format!(
        "NONE:+VERS-DTLS1.2:{exchange}:{cipher}:+COMP-NULL:+GROUP-SECP256R1:+SIGN-ECDSA-SHA256{types}:%NO_TICKETS"
    );
    let mut command = Command::new("gnutls-cli");
    command.args(["--udp", "--logfile", "/dev/null", "--priority", &priority]);
    command.args(["--port", &start.server.port().to_string()]);
    command.env("SSLKEYLOGFILE", start.key_log());
    match start.identity {
        _ if mode == Mode::Psk => {
            command.args(["--pskusername", &start.case.endpoint(), "--pskkey", &HEX.encode(PSK_KEY)]);
        }
        Some(identity) if mode == Mode::Rpk => {
            let key = start.file("key.pem", identity.key_pem());
            let public = start.file("public.pem", identity.spki_pem());
            command.args(["--rawpkkeyfile", &key, "--rawpkfile", &public, "--insecure"]);
        }
        Some(identity) => {
            let chain = start.file("chain.pem", identity.chain_pem());
            let key = start.file("key.pem", identity.key_pem());
            command.args(["--x509certfile", &chain, "--x509keyfile", &key]);
            command.args(["--x509cafile", &start.world.authority_file()]);
        }
        None => {}
    }
    command.arg("127.0.0.1");
    command
}

impl Peer for GnuTls {
    fn connect(&mut self) -> Result<()> {
        if let Some(process) = self.process.take() {
            process.end();
        }
        if self.resume {
            self.command.arg("--resume");
        }
        self.resume = true;
        self.process = Some(Process::start(&mut self.command)?);
        Ok(())
    }

    fn exchange(&mut self) -> Result<()> {
        let process = self.process.as_mut().unwrap();
        process.send(&request())?;
        process.find("answer", |seen| {
            let place = seen.windows(MARK.len()).position(|window| window == MARK)?;
            Some((place + MARK.len(), ()))
        })
    }
}

/// libcoap's client: a process for each request.
struct Libcoap(Command);

fn libcoap(program: &str, start: &Start) -> Command {
    let mut command = Command::new(program);
    command.args(["-B", "10"]).env("SSLKEYLOGFILE", start.key_log());
    match start.identity {
        _ if start.case.mode == Mode::Psk => {
            command.args(["-u", &start.case.endpoint(), "-k", str::from_utf8(PSK_KEY).unwrap()]);
        }
        Some(identity) if start.case.mode == Mode::Rpk => {
            command.args(["-n", "-M", &start.file("raw.pem", identity.key_pem() + &identity.spki_pem())]);
        }
        Some(identity) => {
            let both = start.file("both.pem", identity.chain_pem() + &identity.key_pem());
            command.args(["-c", &both, "-R", &start.world.authority_file()]);
        }
        None => {}
    }
    command.arg(format!("coaps://{}/.well-known/core", start.server));
    command
}

impl Peer for Libcoap {
    fn connect(&mut self) -> Result<()> {
        Ok(())
    }

    fn exchange(&mut self) -> Result<()> {
        let output = self.0.output().map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        if text.contains(str::from_utf8(MARK).unwrap()) { Ok(()) } else { Err(format!("answered {text:?}")) }
    }
}

/// A program of tests/peers.
struct Script {
    process: Process,
    verb: &'static str,
}

impl Script {
    fn start(peer: &str, file: &str, verb: &'static str, start: &Start) -> Option<Script> {
        let tool = if peer == "node" { "npm" } else { "python3" };
        if Command::new(tool).arg("--help").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
            skip(tool);
            return None;
        }
        let builder = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/build");
        let built = Command::new(builder).arg(peer).output().expect("bash runs");
        if !built.status.success() {
            eprintln!("{}", String::from_utf8_lossy(&built.stderr));
            skip(start.case.peer);
            return None;
        }
        let line = String::from_utf8(built.stdout).unwrap().trim().to_owned() + file;
        let mut words = line.split(' ');
        let mut command = Command::new(words.next().unwrap());
        command.args(words);
        command.arg(format!("address={}", start.server)).arg(format!("suite={:04X}", start.case.suite.0));
        if start.case.cid {
            command.arg("cid=8");
        }
        match start.identity {
            None => {
                command.args(["mode=psk", &format!("identity={}", start.case.endpoint())]);
                command.arg(format!("key={}", HEX.encode(PSK_KEY)));
            }
            Some(identity) => {
                command.arg("mode=x509").arg(format!("keylog={}", start.key_log().display()));
                command.arg(format!("chain={}", start.file("chain.pem", identity.chain_pem())));
                command.arg(format!("private={}", start.file("key.pem", identity.key_pem())));
                command.arg(format!("authority={}", start.world.authority_file()));
            }
        }
        Some(Script { process: Process::start(&mut command).expect("it was built"), verb })
    }

    fn ask(&mut self, command: &str) -> Result<String> {
        self.process.send(format!("{command}\n").as_bytes())?;
        loop {
            let line = self.process.line()?;
            match line.split_once(' ').unwrap_or((&line, "")) {
                ("ok", _) => return Ok(String::new()),
                ("answer", hex) => return Ok(hex.into()),
                ("error", why) => return Err(why.into()),
                _ => {}
            }
        }
    }
}

impl Peer for Script {
    fn connect(&mut self) -> Result<()> {
        self.ask("connect").map(drop)
    }

    fn exchange(&mut self) -> Result<()> {
        if self.verb == "send" {
            let request = request();
            let answer = self.ask(&format!("send {}", HEX.encode(&request)))?;
            return check_answer(
                &request,
                &HEX.decode(answer.as_bytes()).map_err(|error| error.to_string())?,
            );
        }
        let payload = self.ask("get /.well-known/core")?;
        if payload.contains(&HEX.encode(MARK)) { Ok(()) } else { Err(format!("answered {payload}")) }
    }
}
