//! Tokens: one certificate each, for whoever comes first, whatever crashes.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::*;

/// A CA with a token out.
struct Desk {
    ca: Ca,
    fixture: Fixture,
    grant: Grant,
    token: Token,
}

impl Desk {
    fn new() -> Self {
        let fixture = Fixture::new();
        let ca = fixture.found(&founding(&["ci.test", "127.0.0.0/8"]));
        let (token, grant) = grant(&ca, "runner-1.ci.test", fixture.now);
        Self { ca, fixture, grant, token }
    }

    fn redeem(&self, key: &SecretKey) -> Result<Redeemed, CaError> {
        self.redeem_at(key, self.fixture.now)
    }

    fn redeem_at(&self, key: &SecretKey, now: Moment) -> Result<Redeemed, CaError> {
        self.ca.redeem(&self.token, &public(key), now)
    }

    fn path(&self) -> PathBuf {
        self.fixture.folder().join(format!("tokens/{}.json", self.grant.id))
    }

    fn issued(&self) -> usize {
        fs::read_to_string(self.fixture.folder().join("issued.jsonl")).map_or(0, |list| list.lines().count())
    }
}

fn grant(ca: &Ca, name: &str, now: Moment) -> (Token, Grant) {
    ca.grant(names(&[name]), LEAF_LIFE, "1h".parse().expect("a time"), now).expect("permitted")
}

fn key() -> SecretKey {
    SecretKey::for_leaf(KeyKind::P256).expect("a key")
}

fn public(key: &SecretKey) -> PublicKey {
    PublicKey::read(&key.public_der()).expect("ours")
}

fn refusal(result: Result<Redeemed, CaError>) -> TokenRefusal {
    match result {
        Err(CaError::Token(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_a_token_gives_is_what_is_issued_to_clients_by_hand() {
    let desk = Desk::new();
    let key = key();
    let redeemed = desk.redeem(&key).expect("it is good");
    assert_eq!((redeemed.is_new, &redeemed.identifiers), (true, &names(&["runner-1.ci.test"])));
    let received = Received::read(&redeemed.chain, &key).expect("for our key, and for a client");
    assert_eq!((&received.chain, &received.serial, received.not_after), (&redeemed.chain, &redeemed.serial, redeemed.not_after));
    assert_eq!(Received::read(&redeemed.chain, &self::key()), Err(ReceivedError::Key));
    assert!(matches!(Received::read("", &key), Err(ReceivedError::Parse(_))));

    let by_hand = desk.ca.issue(&client(&["runner-1.ci.test"]), KeyKind::P256, desk.fixture.now).expect("permitted");
    let shape = |chain: &str| {
        use x509_parser::prelude::{FromDer as _, X509Certificate};
        let chain = certificates(chain);
        let (_, leaf) = X509Certificate::from_der(&chain[0]).expect("a certificate");
        let extensions: Vec<_> = leaf.extensions().iter().map(|one| (one.oid.to_string(), one.critical)).collect();
        (leaf.subject().to_string(), extensions, leaf.validity().not_after, chain[1..].to_vec())
    };
    assert_eq!(shape(&redeemed.chain), shape(&by_hand.chain));
    let server_side = desk.ca.issue(&server(&["127.0.0.1"]), KeyKind::P256, desk.fixture.now).expect("permitted");
    let roots = trust(&desk.ca.anchors(desk.fixture.now).expect("read"));
    let ours = Issued { chain: redeemed.chain, key: Some(key), ..by_hand };
    assert_eq!(connect_as(&server_side, Some(&ours), &roots, "127.0.0.1"), Ok(()));
}

#[test]
fn a_token_is_good_for_one_key_for_its_time() {
    let desk = Desk::new();
    let (first, second) = (key(), key());
    let redeemed = desk.redeem(&first).expect("it is good");
    let later = desk.fixture.now + Duration::from_secs(3599);
    let again = desk.redeem_at(&first, later).expect("the answer may have been lost");
    assert_eq!(again, Redeemed { is_new: false, ..redeemed.clone() });
    assert_eq!(refusal(desk.redeem_at(&second, later)), TokenRefusal::Used(desk.fixture.now));
    let over = desk.grant.until;
    assert_eq!(refusal(desk.redeem_at(&first, over)), TokenRefusal::Ended(over));
    let request = |key: &SecretKey| seal::bare_request(key).expect("a request");
    let asked = redeem(&desk.fixture.folder(), &desk.token, request(&second).as_bytes(), Duration::ZERO, over);
    assert!(
        matches!(asked, Err(CaError::Store(StoreError::Locked(_)))),
        "whether it was used for this key is seen under the lock: {asked:?}"
    );
    assert_eq!(refusal(desk.redeem_at(&second, over)), TokenRefusal::Used(desk.fixture.now), "a thief's victim hears of it later, too");
    assert_eq!(desk.issued(), 1);
    let Desk { mut ca, fixture, .. } = desk;
    assert!(ca.revoke_serial(&redeemed.serial, Cause::KeyCompromise, fixture.now).expect("it is in the list").is_new);
}

#[test]
fn nobody_elses_token_and_no_guess_at_the_secret_opens_anything() {
    let (desk, other) = (Desk::new(), Desk::new());
    assert_eq!(refusal(desk.ca.redeem(&other.token, &public(&key()), desk.fixture.now)), TokenRefusal::Unknown);
    let [ours, theirs] = [&desk, &other].map(|desk| desk.token.word());
    let secret = |word: &str| word.split('.').nth(2).expect("the third part").to_owned();
    let guess: Token = ours.replace(&secret(&ours), &secret(&theirs)).parse().expect("a token");
    assert_eq!(refusal(desk.ca.redeem(&guess, &public(&key()), desk.fixture.now)), TokenRefusal::Unknown);
    let kept = fs::read_to_string(desk.path()).expect("there");
    assert!(!kept.contains(&secret(&ours)), "only its hash is kept");
    assert!(desk.redeem(&key()).is_ok());
}

/// The two writes of [`Ca::redeem`], and a power cut before, between and after them.
#[test]
fn a_crash_at_any_write_leaves_one_certificate_for_the_key_that_came_first() {
    let desk = Desk::new();
    let (key, list) = (key(), desk.fixture.folder().join("issued.jsonl"));
    fs::write(desk.path().with_extension("json.new"), "{\"at\": \"20").expect("ours");
    let first = desk.redeem(&key).expect("what a crash left does not stand in the way");
    let recorded = fs::read(&list).expect("written");
    fs::remove_file(&list).expect("it was not written yet");
    let again = desk.redeem(&key).expect("it is its own");
    assert_eq!((&again.chain, fs::read(&list).expect("written now")), (&first.chain, recorded));
    fs::write(&list, "{\"at\": \"2026-").expect("half of it was written");
    assert_eq!(desk.redeem(&key).expect("it is its own").chain, first.chain);
    let text = fs::read_to_string(&list).expect("written");
    assert_eq!(text.matches(&first.serial.to_string()).count(), 1, "{text}");
    assert!(matches!(refusal(desk.redeem(&self::key())), TokenRefusal::Used(_)));
}

#[test]
fn what_the_ca_refuses_now_does_not_use_the_token_up() {
    let desk = Desk::new();
    for names_of in [names(&["a.test"]), names(&[])] {
        let made = desk.ca.grant(names_of, LEAF_LIFE, "1h".parse().expect("a time"), desk.fixture.now);
        assert!(matches!(made, Err(CaError::Refused(_))), "what would be refused later is refused now");
    }
    assert_eq!(desk.ca.grants(desk.fixture.now).expect("read").len(), 1);
    let keys = desk.fixture.folder().join("keys");
    fs::rename(&keys, keys.with_extension("away")).expect("ours");
    assert!(matches!(desk.redeem(&key()), Err(CaError::KeyAway { .. })));
    assert!(matches!(desk.ca.is_able(desk.fixture.now), Err(CaError::KeyAway { .. })));
    fs::rename(keys.with_extension("away"), &keys).expect("ours");
    desk.ca.is_able(desk.fixture.now).expect("its key is there again");
    assert!(desk.redeem(&key()).is_ok());
}

#[test]
fn what_the_service_could_not_write_down_is_told_before_it_is_to() {
    use std::os::unix::fs::{MetadataExt as _, chown};
    let desk = Desk::new();
    let folder = desk.fixture.folder();
    desk.ca.issue(&client(&["runner-1.ci.test"]), KeyKind::P256, desk.fixture.now).expect("permitted");
    desk.ca.can_record().expect("it has just done so");
    let (list, is_root) = (folder.join("issued.jsonl"), fs::metadata(&folder).expect("there").uid() == 0);
    for path in [list, folder.join("tokens")] {
        if is_root {
            chown(&folder, Some(4711), Some(4711)).expect("given");
            for given in [folder.join("issued.jsonl"), folder.join("tokens")] {
                chown(&given, Some(4711), Some(4711)).expect("given");
            }
            desk.ca.can_record().expect("all is the service's");
            chown(&path, Some(0), Some(0)).expect("ours");
        } else {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o500)).expect("ours");
        }
        let refused = desk.ca.can_record();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).expect("ours");
        assert!(matches!(&refused, Err(CaError::Store(StoreError::Io { path: told, .. })) if *told == path), "{refused:?}");
    }
}

#[test]
fn tokens_are_listed_taken_back_and_forgotten_when_they_are_over() {
    let desk = Desk::new();
    let now = desk.fixture.now;
    let (short, short_grant) =
        desk.ca.grant(names(&["runner-2.ci.test"]), LEAF_LIFE, "1m".parse().expect("a time"), now).expect("permitted");
    let redeemed = desk.redeem(&key()).expect("it is good");
    let listed = desk.ca.grants(now).expect("read");
    assert_eq!(listed.iter().map(|grant| &grant.id).collect::<Vec<_>>(), [&short_grant.id, &desk.grant.id], "the first to end first");
    assert_eq!((listed[0].used(), listed[1].used()), (None, Some((now, &redeemed.serial, redeemed.not_after))));
    for path in [desk.path(), desk.fixture.folder().join("tokens")] {
        let mode = path.metadata().expect("there").permissions().mode() & 0o777;
        assert_eq!(mode, if path.is_dir() { 0o700 } else { 0o600 }, "{}", path.display());
    }

    fs::write(desk.fixture.folder().join("tokens/0123456789abcdef.json"), "{").expect("ours");
    let late = now + Duration::from_secs(60);
    let (third, grant) = grant(&desk.ca, "runner-3.ci.test", late);
    assert_eq!(
        refusal(desk.ca.redeem(&short, &public(&key()), late)),
        TokenRefusal::Unknown,
        "a new one sweeps, and damage is in nobody's way"
    );
    assert!(matches!(desk.ca.grants(late), Err(CaError::Store(StoreError::Damaged { .. }))), "and a person hears of it");
    desk.ca.cancel(&grant.id).expect("it is out");
    assert_eq!(refusal(desk.ca.redeem(&third, &public(&key()), late)), TokenRefusal::Unknown);
    assert!(matches!(desk.ca.cancel(&grant.id), Err(CaError::NoToken(id)) if id == grant.id));
}

#[test]
fn a_token_that_was_used_is_listed_with_its_certificate_until_that_ends() {
    let desk = Desk::new();
    let redeemed = desk.redeem(&key()).expect("it is good");
    let (later, end) = (desk.grant.until + Duration::from_hours(24), redeemed.not_after);
    let (_, unused) = grant(&desk.ca, "runner-2.ci.test", desk.fixture.now);
    for now in [desk.grant.until, later] {
        let listed = desk.ca.grants(now).expect("read");
        let used: Vec<_> = listed.iter().map(Grant::used).collect();
        assert_eq!(used, [Some((desk.fixture.now, &redeemed.serial, end))], "{} is over, and nobody used it", unused.id);
    }
    assert_eq!(desk.ca.grants(end).expect("read"), []);
    assert_eq!(refusal(desk.redeem_at(&key(), end)), TokenRefusal::Unknown);
}

#[test]
fn a_server_waits_for_whoever_is_at_work_on_the_ca_and_only_for_tokens_that_are_known() {
    let desk = Desk::new();
    let (folder, key, now) = (desk.fixture.folder(), key(), desk.fixture.now);
    let request = seal::bare_request(&key).expect("a request");
    let stranger = Desk::new().token;
    let asked = |token: &Token, patience| redeem(&folder, token, request.as_bytes(), patience, now);
    assert_eq!(refusal(asked(&stranger, Duration::MAX)), TokenRefusal::Unknown, "without a wait");
    let busy = asked(&desk.token, Duration::ZERO);
    assert!(matches!(busy, Err(CaError::Store(StoreError::Locked(_)))), "{busy:?}");
    let Desk { ca, token, fixture: _kept, .. } = desk;
    let waiting = std::thread::spawn(move || redeem(&folder, &token, request.as_bytes(), Duration::from_mins(1), now));
    assert!(ca.grants(now).expect("read")[0].used().is_none(), "it is ours until we leave");
    drop(ca);
    assert!(waiting.join().expect("no panic").expect("it is good").is_new);
}
