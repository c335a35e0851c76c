//! That real answers are read as they are meant, and that no bytes do harm.

use proptest::prelude::*;

use super::*;

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

/// An answer as servers send it, with pointers: a CNAME, a TXT record of two strings, and a CAA record.
fn answer() -> Vec<u8> {
    let question = Question { name: name("_acme-challenge.mirror.test"), kind: Kind::TXT };
    let mut bytes = question.ask(7, true);
    bytes[2] |= 0x84; // An answer, authoritative.
    bytes[7] = 3; // Answers.
    let target = bytes.len() + 12;
    bytes.extend_from_slice(b"\xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x04\x01x\xc0\x1c"); // x.mirror.test
    let pointer = [0xc0, target as u8];
    for (kind, data) in [(16_u16, &b"\x03one\x03two"[..]), (257, b"\x80\x05IssueCA.test; a=b")] {
        bytes.extend_from_slice(&pointer);
        bytes.extend_from_slice(&kind.to_be_bytes());
        bytes.extend_from_slice(b"\0\x01\0\0\0\x3c");
        bytes.extend_from_slice(&(data.len() as u16).to_be_bytes());
        bytes.extend_from_slice(data);
    }
    bytes
}

#[test]
fn an_answer_with_pointers_is_read() {
    let message = Message::read(&answer()).expect("a message");
    assert!(message.is_answer && message.is_authoritative && !message.is_truncated);
    assert_eq!((message.id, message.rcode), (7, Rcode::NO_ERROR));
    assert_eq!(message.questions, [Question { name: name("_acme-challenge.mirror.test"), kind: Kind::TXT }]);
    assert_eq!(message.alias_of(&name("_acme-challenge.mirror.test")), Some(&name("x.mirror.test")));
    assert!(message.shows(&name("x.mirror.test"), "onetwo") && !message.shows(&name("x.mirror.test"), "one"));
    let caa = Data::Caa { is_critical: true, tag: "issue".into(), value: "CA.test; a=b".into() };
    assert_eq!(message.answers[2].data, caa);
}

#[test]
fn a_pointer_that_leads_nowhere_or_to_itself_is_no_name() {
    let question = Question { name: name("a.test"), kind: Kind::TXT };
    for pointer in [[0xc0, 12], [0xc0, 200], [0xff, 0xff], [0x80, 0]] {
        let mut bytes = question.ask(1, false);
        bytes.truncate(12);
        bytes.extend_from_slice(&pointer);
        bytes.extend_from_slice(&[0, 16, 0, 1]);
        assert_eq!(Message::read(&bytes), Err(Malformed), "{pointer:?}");
    }
}

#[test]
fn an_update_adds_one_text_and_deletes_one_text() {
    let zone = Question { name: name("test"), kind: Kind::SOA };
    let add = Entry::Add { name: name("a.test"), ttl: 60, text: "v".into() };
    let bytes = zone.update(0x0102, &[add, Entry::Delete { name: name("a.test"), text: "w".into() }]);
    let expected = b"\x01\x02\x28\0\0\x01\0\0\0\x02\0\0\x04test\0\0\x06\0\x01\
        \x01a\x04test\0\0\x10\0\x01\0\0\0\x3c\0\x02\x01v\
        \x01a\x04test\0\0\x10\0\xfe\0\0\0\0\0\x02\x01w";
    assert_eq!(bytes, expected);
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Message::read(&bytes);
    }

    #[test]
    fn no_damage_to_an_answer_makes_the_reader_panic(at in 0_usize..200, byte: u8, length in 0_usize..200) {
        let mut bytes = answer();
        bytes.truncate(length.max(1));
        let at = at % bytes.len();
        bytes[at] = byte;
        let _ = Message::read(&bytes);
    }

    #[test]
    fn a_question_is_read_back(labels in proptest::collection::vec("[a-z0-9_-]{1,20}", 0..8), kind: u16, id: u16) {
        let question = Question { name: Name::of(labels.into_iter().map(String::into_bytes).collect()).expect("short"), kind: Kind(kind) };
        let message = Message::read(&question.ask(id, true)).expect("our own");
        prop_assert_eq!((message.id, message.questions), (id, vec![question]));
    }
}
