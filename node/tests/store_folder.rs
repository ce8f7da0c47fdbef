//! The store's folder: what lies in it, who may open it, and what a crash at a fault point leaves.

#![allow(clippy::unwrap_used)]

use std::{
    fs,
    path::{Path, PathBuf},
};

use godwit::{
    identity::DeviceId,
    seal::Sealer,
    store::{
        Expect, StateStore, StoreFuture,
        embedded::{Embedded, OpenError, Options},
        value,
    },
};

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("godwit-store-{name}-{}", std::process::id())))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

fn wait<T>(future: StoreFuture<T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(future).unwrap()
}

fn hold(folder: &Path, wanted: &[u8]) -> bool {
    fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return hold(&path, wanted);
        }
        fs::read(path).unwrap().windows(wanted.len()).any(|bytes| bytes == wanted)
    })
}

#[test]
fn no_secret_lies_open_in_the_folder() {
    let folder = Folder::new("secrets");
    let secret: &[u8] = b"correct horse battery staple";
    let identity = b"identity of the device";
    let device = DeviceId::of("ep");
    let sealed = Sealer::new(&[1; 32]).seal(device, secret);
    let credential = value::Credential {
        psk_identity: identity.to_vec(),
        secret: sealed.clone(),
        previous_secret: sealed,
        ..Default::default()
    };
    let document =
        value::Device { endpoint: "ep".into(), credential: Some(credential), ..Default::default() };
    let store = Embedded::open(&folder.0, Options::default()).unwrap();
    wait(store.put_device(document, Expect::Absent));
    drop(store);
    assert!(hold(&folder.0, identity), "the search finds what is not secret");
    assert!(!hold(&folder.0, secret));
    let store = Embedded::open(&folder.0, Options::default()).unwrap();
    let stored = wait(store.load(device)).unwrap().document.unwrap().credential.unwrap().secret;
    assert_eq!(Sealer::new(&[1; 32]).open(device, &stored), Ok(secret.to_vec()));
}

#[test]
fn a_folder_is_one_process_alone() {
    let folder = Folder::new("lock");
    let first = Embedded::open(&folder.0, Options::default()).unwrap();
    let Err(second) = Embedded::open(&folder.0, Options::default()) else { panic!("opened twice") };
    let pid = std::process::id();
    assert!(matches!(&second, OpenError::InUse { path, pid: Some(it) } if *path == folder.0 && *it == pid));
    let said = second.to_string();
    assert!(said.contains(&pid.to_string()) && said.contains(folder.0.to_str().unwrap()), "{said}");
    drop(first);
    assert!(Embedded::open(&folder.0, Options::default()).is_ok());
}

/// A child is killed at the fault point by the third registration; the two before it are there in any case.
#[cfg(feature = "failpoints")]
#[test]
fn a_fault_point_ends_the_process_before_or_after_the_commit() {
    use std::{os::unix::process::ExitStatusExt, process::Command};

    use godwit::{
        identity::{Owner, RegistrationId},
        store::{Change, Claim, Fence},
    };

    const CHILD: &str = "GODWIT_STORE_FAULT_CHILD";
    const NAME: &str = "a_fault_point_ends_the_process_before_or_after_the_commit";
    if let Ok(folder) = std::env::var(CHILD) {
        let store = Embedded::open(Path::new(&folder), Options::default()).unwrap();
        for n in 0..9_u8 {
            let (endpoint, owner) = (n.to_string(), Owner { node: "n".into(), boot: 1 });
            let device = DeviceId::of(&endpoint);
            let claimed = wait(store.claim(device, &owner, Claim { create: true, seen: None }));
            let fence = Fence { owner, term: claimed.term, claims: claimed.claims };
            let id = RegistrationId::from_random([n; 16]).to_string();
            let registration = value::Registration { endpoint, id, ..Default::default() };
            wait(store.commit(device, fence, vec![Change::Registration(Box::new(registration))]));
        }
        return;
    }
    for (point, registered) in [("store.before_commit", 2), ("store.after_commit", 3)] {
        let folder = Folder::new(point);
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", NAME])
            .env(CHILD, &folder.0)
            .env("GODWIT_FAILPOINT", format!("{point}:register:3"))
            .output()
            .unwrap();
        assert_eq!(child.status.signal(), Some(6), "{child:?}");
        let store = Embedded::open(&folder.0, Options::default()).unwrap();
        assert_eq!(wait(store.counts()).registered, registered, "{point}");
    }
}

#[test]
fn a_store_that_nobody_writes_to_gives_its_memory_back() {
    let folder = Folder::new("settled");
    let store = Embedded::open(&folder.0, Options { sync: false, ..Options::default() }).unwrap();
    let filled = (0..2000).map(|number| {
        let endpoint = format!("ep-{number}");
        let document = value::Device { endpoint, profile: "p".repeat(2000), ..Default::default() };
        wait(store.put_device(document, Expect::Absent));
        store.memory()
    });
    let filled = filled.max().unwrap();
    assert!(filled > 4 << 20, "{filled} bytes: nothing to give back");
    let settled = || store.memory() < 1 << 20;
    for _ in 0..300 {
        if settled() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert!(settled(), "{} of {filled} bytes are left", store.memory());
    let device = wait(store.load(DeviceId::of("ep-1999"))).unwrap();
    assert_eq!(device.document.unwrap().endpoint, "ep-1999");
}
