//! What a Redis does to a node: it goes away, stands still, refuses, forgets who is the master.

use std::time::Duration;

use super::*;
use crate::{
    config::{RedisMode, RedisTls, Secret},
    identity::RegistrationId,
    store::contract::{TempFolder, redis::server, wait},
};

fn settings(server: &server::Redis) -> Redis {
    Redis { addresses: vec![server.address()], timeout: Duration::from_millis(500), ..Redis::default() }
}

fn open(settings: &Redis) -> Result<RedisStore, OpenError> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(RedisStore::open(settings, true))
}

/// A server and a store on it; `None`: there is no Redis here.
fn started() -> Option<(server::Redis, RedisStore)> {
    let redis = server::available().then(server::Redis::start)?;
    let store = open(&settings(&redis)).unwrap();
    Some((redis, store))
}

fn owner() -> Owner {
    Owner { node: "a".into(), boot: 1 }
}

fn claim(store: &RedisStore, endpoint: &str) -> Result<Fence, StoreError> {
    let claim = Claim { create: true, seen: None };
    let claimed = wait(store.claim(DeviceId::of(endpoint), &owner(), claim))?;
    Ok(Fence { owner: owner(), term: claimed.term, claims: claimed.claims })
}

fn registers(store: &RedisStore, endpoint: &str, fence: &Fence, n: u8) -> Result<(), StoreError> {
    let id = RegistrationId::from_random([n; 16]).to_string();
    let registration = value::Registration { endpoint: endpoint.into(), id, ..Default::default() };
    let changes = vec![Change::Registration(Box::new(registration)), Change::Deadline(Some(u64::from(n)))];
    wait(store.commit(DeviceId::of(endpoint), fence.clone(), changes))
}

/// Asks again until the store answers.
fn until_it_answers<T>(mut ask: impl FnMut() -> Result<T, StoreError>) -> T {
    let until = clock::now() + Duration::from_secs(30);
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(StoreError::Unavailable(_)) if clock::now() < until => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(error) => panic!("{error}"),
        }
    }
}

fn reason<T: std::fmt::Debug>(answer: Result<T, StoreError>) -> String {
    match answer {
        Err(StoreError::Unavailable(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn word_for_a_run_is_kept_for_it_and_taken_once() {
    let Some((_redis, store)) = started() else { return };
    let devices = ["a", "b"].map(DeviceId::of);
    for device in devices {
        wait(store.tell(&owner(), device)).unwrap();
    }
    let later = Owner { boot: 2, ..owner() };
    assert_eq!(wait(store.told(&later)), Ok(Vec::new()));
    assert_eq!(wait(store.told(&owner())), Ok(devices.to_vec()));
    assert_eq!(wait(store.told(&owner())), Ok(Vec::new()));
}

#[test]
fn a_redis_that_was_killed_is_found_again_with_what_was_answered() {
    let Some((mut redis, store)) = started() else { return };
    let fence = claim(&store, "ep").unwrap();
    registers(&store, "ep", &fence, 1).unwrap();
    let written = wait(store.load(DeviceId::of("ep"))).unwrap();
    redis.kill();
    for _ in 0..3 {
        let reason = reason(wait(store.load(DeviceId::of("ep"))));
        assert!(reason.starts_with("Redis"), "{reason}");
    }
    redis.restart();
    assert_eq!(until_it_answers(|| wait(store.load(DeviceId::of("ep")))), written);
    until_it_answers(|| registers(&store, "ep", &fence, 2));
}

#[test]
fn a_redis_that_knows_no_script_any_more_is_given_them_again() {
    let Some((redis, store)) = started() else { return };
    let fence = claim(&store, "ep").unwrap();
    redis.command(&["SCRIPT", "FLUSH"]);
    registers(&store, "ep", &fence, 1).unwrap();
}

#[test]
fn what_a_redis_that_stood_still_finds_in_old_connections_undoes_nothing() {
    let Some((redis, store)) = started() else { return };
    let fence = claim(&store, "ep").unwrap();
    registers(&store, "ep", &fence, 1).unwrap();
    redis.pause();
    let reason = reason(registers(&store, "ep", &fence, 2));
    // Within store.redis.timeout, or while another connection was made.
    assert!(reason.starts_with("Redis did not answer w"), "{reason}");
    redis.resume();
    until_it_answers(|| registers(&store, "ep", &fence, 3));
    // Whatever Redis still reads from connections that were given up it has read before it answers this.
    for _ in 0..10 {
        let record = wait(store.load(DeviceId::of("ep"))).unwrap().unwrap();
        assert_eq!(record.header.deadline, Some(3));
    }
    let id = RegistrationId::from_random([3; 16]);
    assert_eq!(wait(store.resolve(Pointer::Registration(id))), Ok(Some(DeviceId::of("ep"))));
}

#[test]
fn a_late_write_of_the_same_owner_is_refused() {
    let Some((_redis, store)) = started() else { return };
    let fence = claim(&store, "ep").unwrap();
    let write = |number: u64, deadline| {
        let fence = fence.clone();
        wait(store.run_for(DeviceId::of("ep"), false, move |device| async move {
            let changes = Changes::of(&[Change::Deadline(Some(deadline))])?;
            device.try_commit(&fence, &changes, number).await
        }))
    };
    assert_eq!(write(70, 7), Ok(()));
    assert_eq!(write(70, 7), Ok(()), "the same once more");
    assert_eq!(reason(write(69, 6)), "a later write came before this one");
    assert_eq!(write(71, 8), Ok(()));
    let record = wait(store.load(DeviceId::of("ep"))).unwrap().unwrap();
    assert_eq!(record.header.deadline, Some(8));
}

#[test]
fn what_a_crash_left_half_done_is_mended_by_the_next_claim() {
    let Some((redis, store)) = started() else { return };
    let fence = claim(&store, "ep").unwrap();
    registers(&store, "ep", &fence, 1).unwrap();
    // As if its owner had died after the record was written, and before all that follows from it.
    let id = RegistrationId::from_random([1; 16]);
    let (pointer, key) = (Pointer::Registration(id), format!("gw:rd:{id}"));
    assert_eq!(redis.command(&["DEL", &key]).trim(), "1");
    let part = index::part(DeviceId::of("ep"));
    redis.command(&["DEL", &format!("gw:exp:{part}"), &format!("gw:dev:{part}:2")]);
    drop(store);
    let store = open(&settings(&redis)).unwrap();
    assert_eq!(wait(store.resolve(pointer.clone())), Ok(None));
    claim(&store, "ep").unwrap();
    assert_eq!(wait(store.resolve(pointer)), Ok(Some(DeviceId::of("ep"))));
    assert_eq!(redis.command(&["PTTL", &key]).trim(), "-1");
    assert_eq!(wait(store.due(9, None, 9)).unwrap().len(), 1);
    assert_eq!(wait(store.counts()).unwrap().registered, 1);
}

#[test]
fn what_nothing_keeps_goes_by_itself() {
    let Some((redis, store)) = started() else { return };
    let ttl = |key: &str| redis.command(&["PTTL", key]).trim().parse::<i64>().unwrap();
    let record = format!("gw:{{{}}}", DeviceId::of("ep"));
    let fence = claim(&store, "ep").unwrap();
    assert!((1..=255_000).contains(&ttl(&record)), "a claim from which nothing came");
    registers(&store, "ep", &fence, 1).unwrap();
    assert_eq!(ttl(&record), -1);
    let id = RegistrationId::from_random([1; 16]);
    let applied = value::Applied { registration: id.to_string(), time: store.0.now(), ..Default::default() };
    let ended = vec![Change::RemoveRegistration, Change::Applied(applied)];
    wait(store.commit(DeviceId::of("ep"), fence, ended)).unwrap();
    assert!((1..=255_000).contains(&ttl(&record)), "a tombstone");
    assert!((1..=255_000).contains(&ttl(&format!("gw:rd:{id}"))), "what leads to it");
    redis.command(&["DEL", &record]);
    for _ in 0..=index::PARTS {
        wait(store.counts()).unwrap();
    }
    let part = index::part(DeviceId::of("ep"));
    assert_eq!(redis.command(&["ZCARD", &format!("gw:dev:{part}:0")]).trim(), "0", "its entry is swept");
}

#[test]
fn a_password_and_a_user_are_what_redis_asks_for() {
    if !server::available() {
        return;
    }
    let user = ["--user", "node", "on", ">word", "~gw:*", "+@all"];
    let redis = server::Redis::with(&[&["--requirepass", "secret"][..], &user].concat());
    let settings = settings(&redis);
    let refused = open(&settings).err().unwrap().to_string();
    assert!(refused.contains("store.redis.password"), "{refused}");
    let folder = TempFolder::new();
    let file = folder.0.join("password");
    std::fs::write(&file, "secret\n").unwrap();
    let with_file = Redis { password_file: Some(file), ..settings.clone() };
    claim(&open(&with_file).unwrap(), "ep").unwrap();
    let user = |name: &str, password: &str| Redis {
        username: Some(name.into()),
        password: Some(Secret::new(password.into())),
        ..settings.clone()
    };
    claim(&open(&user("node", "word")).unwrap(), "ep").unwrap();
    let refused = open(&user("node", "other")).err().unwrap().to_string();
    assert!(refused.contains("store.redis.password") && !refused.contains("other"), "{refused}");
    let elsewhere = Redis { prefix: "other".into(), ..user("node", "word") };
    let refused = reason(claim(&open(&elsewhere).unwrap(), "ep").map(|_| ()));
    assert!(refused.contains("docs/redis.md"), "{refused}");
}

#[test]
fn what_keeps_connections_from_being_made_is_one_sentence_with_a_setting_each_time() {
    if !server::available() {
        return;
    }
    let redis = server::Redis::with(&["--requirepass", "secret"]);
    let plain = settings(&redis);
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = Redis { addresses: vec![free.local_addr().unwrap().to_string()], ..plain.clone() };
    drop(free);
    let nowhere = Redis { addresses: vec!["host.invalid:6379".into()], ..plain.clone() };
    let wrong = Redis { password: Some(Secret::new("word".into())), ..plain.clone() };
    let right = Redis { password: Some(Secret::new("secret".into())), ..plain.clone() };
    let cluster = |settings: &Redis| Redis { mode: RedisMode::Cluster, ..settings.clone() };
    let sentinel = Redis { mode: RedisMode::Sentinel, master: "main".into(), ..right.clone() };
    for (settings, setting) in [
        (&plain, "store.redis.password"),
        (&wrong, "store.redis.password"),
        (&cluster(&wrong), "store.redis.password"),
        (&nobody, "store.redis.addresses"),
        (&nowhere, "store.redis.addresses"),
        (&cluster(&nobody), "store.redis.addresses"),
        (&cluster(&right), "store.redis.mode"),
        (&sentinel, "store.redis.password"),
    ] {
        let store = RedisStore::with(Client::new(settings).unwrap(), None, true);
        // The second fails because the first has.
        for _ in 0..2 {
            let reason = reason(wait(store.load(DeviceId::of("ep"))));
            assert!(reason.starts_with("Redis: ") && reason.contains(setting), "{reason}");
            assert_eq!(
                (reason.matches("Redis:").count(), reason.matches("; see ").count()),
                (1, 1),
                "{reason}"
            );
            assert!(!reason.contains("word;") && !reason.contains("secret"), "{reason}");
        }
    }
}

#[test]
fn a_redis_that_may_evict_is_refused_at_the_start() {
    if !server::available() {
        return;
    }
    let redis = server::Redis::with(&["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"]);
    assert!(matches!(open(&settings(&redis)), Err(OpenError::Evicts { .. })));
}

#[test]
fn a_redis_behind_tls_is_reached_with_its_authority_alone() {
    if !server::available() {
        return;
    }
    let folder = TempFolder::new();
    let path = |name: &str| folder.0.join(name).to_str().unwrap().to_owned();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
    std::fs::write(path("cert"), made.cert.pem()).unwrap();
    std::fs::write(path("key"), made.signing_key.serialize_pem()).unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (cert, key, port) = (path("cert"), path("key"), free.to_string());
    let args = ["--tls-port", &port, "--tls-cert-file", &cert, "--tls-key-file", &key];
    let _redis = server::Redis::with(&[&args[..], &["--tls-ca-cert-file", &cert]].concat());
    let tls = |ca: &str| RedisTls { enabled: true, ca_file: Some(ca.into()), ..RedisTls::default() };
    let settings = Redis { addresses: vec![format!("localhost:{port}")], ..Redis::default() };
    let own = RedisTls { cert_file: Some(cert.clone().into()), key_file: Some(key.into()), ..tls(&cert) };
    claim(&open(&Redis { tls: own, ..settings.clone() }).unwrap(), "ep").unwrap();
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(path("other"), other.cert.pem()).unwrap();
    let refused = open(&Redis { tls: tls(&path("other")), ..settings }).err().unwrap();
    assert!(matches!(refused, OpenError::Store(StoreError::Unavailable(_))), "{refused}");
}

#[test]
fn sentinels_name_the_new_master() {
    if !server::available() {
        return;
    }
    let mut master = server::Redis::start();
    let replica = server::Redis::with(&["--replicaof", "127.0.0.1", &master.port().to_string()]);
    let sentinel = server::Redis::sentinel(master.port(), 1);
    let settings = Redis {
        mode: RedisMode::Sentinel,
        addresses: vec![sentinel.address()],
        wait_replicas: 1,
        ..settings(&master)
    };
    let store =
        until_it_answers(|| open(&settings).map_err(|error| StoreError::Unavailable(error.to_string())));
    let fence = until_it_answers(|| claim(&store, "ep"));
    until_it_answers(|| registers(&store, "ep", &fence, 1));
    until_it_answers(|| {
        let seen = sentinel.command(&["SENTINEL", "REPLICAS", "mymaster"]);
        let known = seen.contains(&replica.port().to_string());
        if known { Ok(()) } else { Err(StoreError::Unavailable(String::new())) }
    });
    master.kill();
    let record = until_it_answers(|| wait(store.load(DeviceId::of("ep")))).unwrap();
    assert!(record.registration.is_some(), "what a replica had before it was answered");
    until_it_answers(|| claim(&store, "ep"));
    let fewer = until_it_answers(|| match registers(&store, "ep", &claim(&store, "ep")?, 2) {
        Err(StoreError::Unavailable(reason)) if reason.contains("replicas") => Ok(reason),
        Err(error) => Err(error),
        Ok(()) => panic!("there is no replica any more"),
    });
    assert_eq!(fewer, "fewer than 1 replicas of Redis have the write");
}

/// A device as a node leaves it: provisioned with a PSK, registered over a session with Connection IDs, two observations.
fn settle(store: &RedisStore, n: u32) -> Result<DeviceId, StoreError> {
    let endpoint = format!("urn:imei:{n:015}");
    let random = |length: usize| n.to_be_bytes().into_iter().cycle().take(length).collect::<Vec<u8>>();
    let credential = value::Credential {
        psk_identity: endpoint.clone().into_bytes(),
        secret: random(53),
        modes: vec![2],
        version: 1,
        ..Default::default()
    };
    let document =
        value::Device { endpoint: endpoint.clone(), credential: Some(credential), ..Default::default() };
    wait(store.put_device(document, Expect::Absent))?;
    let fence = claim(store, &endpoint)?;
    let session = crate::store::Session {
        association: crate::identity::AssociationId::from_bytes(random(8).try_into().unwrap()),
        id: crate::identity::SessionId::from_bytes(random(32).try_into().unwrap()),
        provisional: false,
        resumed: false,
        closed: false,
        numbers: crate::store::Numbers { write_mark: 1 << 20, read_floor: 900, read_window: u64::MAX },
        established_at: store.0.now(),
        heard_at: store.0.now(),
        expires_at: store.0.now() + 30 * 86_400_000,
        cid: random(8),
        peer_cid: Some(6),
        peer: "10.1.2.3:61616".parse().ok(),
        local: "10.1.2.4:5684".parse().ok(),
        mode: value::credential::Mode::Psk,
        suite: 0xc0a8,
        credential_version: 1,
        sealed: random(1 + 8 + 12 + 173 + 16),
        answer: Vec::new(),
    };
    let id = RegistrationId::from_random(random(16).try_into().unwrap()).to_string();
    let registration = value::Registration {
        endpoint: endpoint.clone(),
        id: id.clone(),
        version: "1.1".into(),
        lifetime: 300,
        binding: "U".into(),
        links: b"</1/0>,</3/0>,</4/0>,</3303/0>".to_vec(),
        formats: vec![110, 112],
        profile: "default".into(),
        registered_at: store.0.now(),
        updated_at: store.0.now(),
        security_mode: 2,
        session: random(8),
        ..Default::default()
    };
    let applied = value::Applied {
        source: random(8),
        number: 3,
        message_id: 900,
        token: random(8),
        code: 0x41,
        time: store.0.now(),
        registration: id,
        association: random(8),
    };
    let observation = |last: u8, path: &str| {
        Change::Observation(value::Observation {
            token: [random(7), vec![last]].concat(),
            paths: vec![path.into()],
            format: Some(112),
            state: 1,
            sequence: Some(900),
            sequence_at: store.0.now(),
            ..Default::default()
        })
    };
    let address = |text: &str| text.parse().ok();
    let changes = vec![
        Change::Session(Box::new(session)),
        Change::Registration(Box::new(registration)),
        Change::Applied(applied),
        observation(1, "/3/0/9"),
        observation(2, "/3303/0/5700"),
        Change::Address {
            peer: address("10.1.2.3:61616"),
            local: address("10.1.2.4:5684"),
            by_address: false,
        },
        Change::PathNode("a".into()),
        Change::Deadline(Some(store.0.now() + 405_000)),
        Change::Activated,
    ];
    wait(store.commit(DeviceId::of(&endpoint), fence, changes))?;
    Ok(DeviceId::of(&endpoint))
}

#[test]
fn a_psk_device_with_two_observations_takes_little_of_redis() {
    const DEVICES: u32 = 2_000;
    if !server::available() {
        return;
    }
    let redis = server::Redis::with(&["--hash-max-listpack-value", "1024"]);
    let store = open(&settings(&redis)).unwrap();
    let used = || {
        let info = redis.command(&["INFO", "memory"]);
        let used = info.lines().find_map(|line| line.strip_prefix("used_memory_dataset:"));
        used.unwrap().trim().parse::<f64>().unwrap()
    };
    settle(&store, 0).unwrap();
    let before = used();
    let mut last = DeviceId::of("");
    for n in 1..=DEVICES {
        last = settle(&store, n).unwrap();
    }
    let data_set = (used() - before) / f64::from(DEVICES);
    let number = |command: &[&str]| redis.command(command).trim().parse::<f64>().unwrap();
    let record = number(&["MEMORY", "USAGE", &format!("gw:{{{last}}}")]);
    const SUM: &str = "local sum = 0
        for _, key in ipairs(redis.call('KEYS', '*')) do
          sum = sum + redis.call('MEMORY', 'USAGE', key, 'SAMPLES', 0)
        end
        return sum";
    let keys = number(&["EVAL", SUM, "0"]) / f64::from(DEVICES);
    println!(
        "{keys:.0} bytes per device, all keys ({data_set:.0} of the data set), {record} of them the record"
    );
    assert!(keys <= 1_434.0, "{keys}");
}

fn beat(store: &RedisStore, restored: u64) -> Result<Beat, StoreError> {
    beat_of(store, owner(), restored)
}

fn beat_of(store: &RedisStore, owner: Owner, restored: u64) -> Result<Beat, StoreError> {
    let member = Member { restored, ..Member::of(owner) };
    wait(store.heartbeat(member, Duration::from_secs(10)))
}

#[test]
fn devices_are_counted_again_only_where_a_node_says_that_they_came_or_went() {
    let Some((redis, a)) = started() else { return };
    let (b, owner_b) = (open(&settings(&redis)).unwrap(), Owner { node: "b".into(), boot: 1 });
    let registered = |store: &RedisStore| wait(store.counts()).unwrap().registered;
    let looks = || {
        let stats = redis.command(&["INFO", "commandstats"]);
        let zcard = stats.lines().find_map(|line| line.strip_prefix("cmdstat_zcard:calls="));
        zcard.map_or(0, |rest| rest.split(',').next().unwrap().parse::<u64>().unwrap())
    };
    assert_eq!((registered(&a), registered(&b)), (0, 0));
    assert_eq!(looks(), 2 * 3 * u64::from(index::PARTS));
    let fence = claim(&a, "one").unwrap();
    registers(&a, "one", &fence, 1).unwrap();
    registers(&a, "one", &fence, 2).unwrap();
    assert_eq!(registered(&a), 1);
    assert_eq!(looks(), (2 * u64::from(index::PARTS) + 1) * 3, "one part");
    // Word comes with the heartbeats.
    beat(&a, 0).unwrap();
    beat_of(&b, owner_b.clone(), 0).unwrap();
    assert_eq!(registered(&b), 1);
    let before = looks();
    beat(&a, 0).unwrap();
    beat_of(&b, owner_b, 0).unwrap();
    assert_eq!((registered(&a), registered(&b)), (1, 1));
    assert_eq!(looks(), before, "nobody changed anything");
}

#[test]
fn what_a_redis_forgot_is_written_again_with_all_that_leads_to_it() {
    let Some((redis, store)) = started() else { return };
    let (one, given_up, other) = (DeviceId::of("one"), DeviceId::of("given up"), DeviceId::of("other"));
    let fence = claim(&store, "one").unwrap();
    registers(&store, "one", &fence, 1).unwrap();
    let peer = "192.0.2.1:5683".parse().ok();
    let address = Change::Address { peer, local: None, by_address: true };
    wait(store.commit(one, fence.clone(), vec![address])).unwrap();
    let up = claim(&store, "given up").unwrap();
    registers(&store, "given up", &up, 2).unwrap();
    wait(store.commit(given_up, up, vec![Change::Passive])).unwrap();
    let theirs = claim(&store, "other").unwrap();
    registers(&store, "other", &theirs, 3).unwrap();
    let before = [one, given_up].map(|device| wait(store.load(device)).unwrap().unwrap());
    redis.command(&["FLUSHALL"]);
    // Somebody else has one of them by now, from another part of the network.
    let stranger = open(&settings(&redis)).unwrap();
    let b = Owner { node: "b".into(), boot: 1 };
    let term = theirs.term + 60_000;
    let fence_of_b = Fence { owner: b.clone(), term, claims: 1 };
    wait(stranger.commit(other, fence_of_b, vec![Change::Deadline(None)])).unwrap();

    let rewritten = wait(store.rewrite()).unwrap();
    assert_eq!(rewritten, Rewritten { provisions: 0, devices: 2, refused: 1, failed: 0 });
    assert_eq!([one, given_up].map(|device| wait(store.load(device)).unwrap().unwrap()), before);
    assert!(before[1].header.passive);
    assert_eq!(wait(store.load(other)).unwrap().unwrap().header.owner, Some(b));
    let id = RegistrationId::from_random([1; 16]);
    assert_eq!(wait(stranger.resolve(Pointer::Registration(id))).unwrap(), Some(one));
    assert_eq!(wait(stranger.resolve(Pointer::Address(peer.unwrap()))).unwrap(), Some(one));
    let due = wait(stranger.due(10, None, 10)).unwrap();
    assert_eq!(due.iter().map(|due| due.device).collect::<Vec<_>>(), [one, given_up]);
    assert_eq!(wait(stranger.counts()).unwrap().registered, 2);
    // Once more changes nothing, and the owner goes on in its term.
    assert_eq!(wait(store.rewrite()).unwrap(), Rewritten { devices: 2, ..Rewritten::default() });
    wait(store.commit(one, fence, vec![Change::Deadline(Some(77))])).unwrap();
    assert_eq!(wait(store.load(one)).unwrap().unwrap().header.deadline, Some(77));
}

#[test]
fn a_device_is_in_one_list_after_a_write_whose_end_nobody_knew() {
    let Some((redis, store)) = started() else { return };
    let fence = claim(&store, "ep").unwrap();
    registers(&store, "ep", &fence, 1).unwrap();
    let list = |class: u8| format!("gw:dev:{}:{class}", index::part(DeviceId::of("ep")));
    let entries = |class| redis.command(&["ZCARD", &list(class)]).trim().to_owned();
    assert_eq!(entries(2), "1");
    // What such a write may leave behind.
    redis.command(&["ZUNIONSTORE", &list(1), "1", &list(2)]);
    redis.pause();
    reason(registers(&store, "ep", &fence, 2));
    redis.resume();
    until_it_answers(|| registers(&store, "ep", &fence, 3));
    assert_eq!([0, 1, 2, 3].map(entries), ["0", "0", "1", "0"]);
}

#[test]
fn only_pointers_that_were_forgotten_are_made_again_too() {
    let Some((redis, store)) = started() else { return };
    let fence = claim(&store, "one").unwrap();
    registers(&store, "one", &fence, 1).unwrap();
    let id = RegistrationId::from_random([1; 16]);
    // In a Redis Cluster it may lie at another master than the record.
    redis.command(&["DEL", &format!("gw:rd:{id}")]);
    assert_eq!(wait(store.resolve(Pointer::Registration(id))).unwrap(), None);
    assert_eq!(wait(store.rewrite()).unwrap().devices, 1);
    assert_eq!(wait(store.resolve(Pointer::Registration(id))).unwrap(), Some(DeviceId::of("one")));
}

#[test]
fn nothing_is_claimed_from_another_process_of_redis_before_heartbeats_showed_it() {
    let Some((mut redis, store)) = started() else { return };
    let first = beat(&store, 0).unwrap();
    claim(&store, "one").unwrap();
    let losses = store.losses().unwrap();
    redis.kill();
    assert!(claim(&store, "one").is_err());
    assert!(losses.has_changed().unwrap(), "whoever watches the connections hears of it");
    redis.restart();
    // It answers, and yet no claim is made: it may have forgotten whose the device is.
    until_it_answers(|| wait(store.load(DeviceId::of("one"))));
    assert_eq!(reason(claim(&store, "one")), "no heartbeat of this process of Redis yet");
    let back = until_it_answers(|| beat(&store, first.back_ms));
    assert_ne!(back.back_ms, first.back_ms, "its coming back is known to all");
    // The node has not taken that in before its next heartbeat.
    reason(claim(&store, "one"));
    let again = beat(&store, first.back_ms).unwrap();
    assert_eq!(again.back_ms, back.back_ms);
    until_it_answers(|| claim(&store, "one"));
}

#[test]
fn a_redis_cluster_that_answers_nothing_is_connected_to_anew() {
    if !server::available() {
        return;
    }
    let cluster = server::RedisCluster::start();
    let settings = Redis {
        mode: RedisMode::Cluster,
        addresses: cluster.addresses(),
        timeout: Duration::from_millis(250),
        ..Redis::default()
    };
    let store = open(&settings).unwrap();
    let load = || wait(store.load(DeviceId::of("one")));
    until_it_answers(load);
    let losses = store.losses().unwrap();
    cluster.nodes.iter().for_each(server::Redis::pause);
    for _ in 0..8 {
        reason(load());
    }
    assert!(losses.has_changed().unwrap());
    cluster.nodes.iter().for_each(server::Redis::resume);
    assert_eq!(until_it_answers(load), None);
}

#[test]
fn a_slot_that_moves_leaves_none_of_many_requests_unanswered() {
    if !server::available() {
        return;
    }
    let cluster = server::RedisCluster::start();
    let settings = Redis {
        mode: RedisMode::Cluster,
        addresses: cluster.addresses(),
        timeout: Duration::from_secs(20),
        ..Redis::default()
    };
    let store = open(&settings).unwrap();
    // So many that a client's task yields among them: with tokio 1.54 it then keeps a lock, and never answers again.
    let devices: Vec<_> = (0..3000).map(|n| DeviceId::of(&format!("ep-{n}"))).collect();
    let masters = [0, 1].map(|n| (&cluster.nodes[n], cluster.nodes[n].command(&["CLUSTER", "MYID"])));
    for (round, device) in devices[..6].iter().enumerate() {
        let slot = cluster.nodes[0].command(&["CLUSTER", "KEYSLOT", &format!("gw:{{{device}}}")]);
        // The second master may have it already.
        let (to, id) = &masters[(round + 1) % 2];
        for master in [*to, masters[round % 2].0] {
            master.command(&["CLUSTER", "SETSLOT", slot.trim(), "NODE", id.trim()]);
        }
        let loads: Vec<_> = devices.iter().map(|device| store.load(*device)).collect();
        for load in loads {
            assert_eq!(wait(load), Ok(None));
        }
    }
}

#[test]
fn what_operators_provisioned_and_redis_forgot_is_provisioned_again_unless_somebody_did_better() {
    if !server::available() {
        return;
    }
    let redis = server::Redis::start();
    let (store, other) = (open(&settings(&redis)).unwrap(), open(&settings(&redis)).unwrap());
    let device = |endpoint: &str, profile: &str| value::Device {
        endpoint: endpoint.into(),
        profile: profile.into(),
        ..value::Device::default()
    };
    let profile = DocumentKey::Profile("p".into());
    wait(store.put_device(device("kept", "one"), Expect::Absent)).unwrap();
    wait(store.put_device(device("changed", "one"), Expect::Absent)).unwrap();
    wait(store.put_device(device("gone", "one"), Expect::Absent)).unwrap();
    wait(store.put_document(profile.clone(), b"body".to_vec(), Expect::Absent)).unwrap();
    redis.command(&["FLUSHALL"]);
    wait(other.put_device(device("changed", "two"), Expect::Absent)).unwrap();
    wait(other.put_device(device("gone", "two"), Expect::Absent)).unwrap();
    wait(other.remove_device(DeviceId::of("gone"), Expect::Any, None)).unwrap();
    assert_eq!(wait(store.rewrite()).unwrap().provisions, 2);
    let profile_of = |endpoint: &str| {
        let record = wait(other.load(DeviceId::of(endpoint))).unwrap();
        record.and_then(|record| record.document).map(|document| document.profile)
    };
    assert_eq!(profile_of("kept").as_deref(), Some("one"));
    assert_eq!(profile_of("changed").as_deref(), Some("two"));
    assert_eq!(profile_of("gone"), None);
    assert_eq!(wait(other.document(profile)).unwrap().unwrap().body, b"body");
    // And what was removed is removed once more.
    wait(store.remove_device(DeviceId::of("kept"), Expect::Any, None)).unwrap();
    redis.command(&["FLUSHALL"]);
    // In the same millisecond the removal would count as the later one.
    let time = || {
        redis.command(&["EVAL", "local t = redis.call('TIME') return t[1] .. string.sub(t[2], 1, -4)", "0"])
    };
    let removed = time();
    while time() == removed {}
    let stale = wait(other.put_device(device("kept", "one"), Expect::Absent)).unwrap();
    assert!(stale.revision > 0);
    wait(store.rewrite()).unwrap();
    assert_eq!(profile_of("kept").as_deref(), Some("one"), "what was provisioned after the removal stays");
}

#[test]
fn a_lane_goes_on_in_an_older_copy_where_another_had_it() {
    let Some((redis, store)) = started() else { return };
    let lane = wait(store.take_lanes(&owner(), 1)).unwrap()[0];
    let stranger = |till: u32| {
        // Version, the last second, boot id and name, as lua/lanes.lua has them.
        let script = "redis.call('HSET', 'gw:lane', ARGV[1], '\\1' .. struct.pack('>I4', ARGV[2]) .. '\\0\\0\\0\\0\\0\\0\\0\\9' .. 'b')";
        redis.command(&["EVAL", script, "1", "gw:lane", &lane.number.to_string(), &till.to_string()]);
    };
    stranger(lane.until - 100);
    let until = wait(store.extend_lanes(&owner(), lane.until)).unwrap();
    assert!(until > lane.until);
    stranger(until);
    assert_eq!(wait(store.extend_lanes(&owner(), until)), Err(StoreError::LanesLost));
}
