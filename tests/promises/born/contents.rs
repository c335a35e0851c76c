//! "What arrives in the machine is what went in": files of all sorts of characters, hundreds in one boot, and as many parts of others.

use cloud_init::user_data::{Order, Theirs, user_data};
use cloud_init::{Means, Provision};
use tests::dice::Dice;
use tests::engine::MachineConfig;
use tests::newborn::Newborn;

use super::{file, order, wish};

#[tokio::test(flavor = "multi_thread")]
async fn files_and_scripts_of_every_kind_of_character_arrive_to_the_byte() {
    let Some(newborn) = Newborn::conceive(&MachineConfig::default()).await else { return };
    let mut dice = Dice::new();
    let contents: Vec<String> = (0..400).map(|_| text(&mut dice)).collect();
    let files = contents.iter().enumerate().map(|(index, text)| file(&format!("/etc/born/{index}"), 0o640, text)).collect();
    let provision = Provision { files, docker: None, means: Means::Script };
    // What a script's own text does is its shell's business: each is told to print a here-document, and end.
    let scripts: Vec<String> = (0..40).map(|_| text(&mut dice).replace('\r', "")).collect();
    let with: Vec<Theirs> = (0..).zip(&scripts).map(|(index, text)| theirs(index, text)).collect();
    let wish = wish("http://192.0.2.1");
    let document = user_data(&Order { with: &with, ..order(&provision, &wish) }).expect("made");
    newborn.boot(document.as_bytes()).await.assert_clean();
    for (index, text) in contents.iter().enumerate() {
        let path = format!("/etc/born/{index}");
        assert_eq!((&newborn.read(&path), newborn.mode(&path)), (text, 0o640), "{path}");
    }
    for (index, text) in scripts.iter().enumerate() {
        assert_eq!(newborn.read(&format!("/run/script-{index}")), format!("{text}\n"), "script {index}");
    }
}

fn theirs(index: usize, text: &str) -> Theirs {
    // No text has a line that begins as the last one does: dash loses a byte of a letter that follows such a beginning.
    let script = format!("#!/bin/sh\ncat >/run/script-{index} <<'Q{index}'\n{text}\nQ{index}\n");
    Theirs { name: format!("{index}.sh"), bytes: script.into_bytes() }
}

/// Words that some layer would take for its own.
fn text(dice: &mut Dice) -> String {
    let length = dice.roll(0..30);
    (0..length).map(|_| *dice.pick(&WORDS)).collect()
}

const WORDS: [&str; 40] = [
    "%",
    "%s",
    "%1$s",
    "$",
    "${x}",
    "$(id)",
    "'",
    "\"",
    "\\",
    "\\n",
    "`",
    "\n",
    "\n",
    "\r\n",
    "\r",
    " ",
    "  ",
    " \n",
    "\t",
    "#",
    ": ",
    "- ",
    "{{ x }}",
    "@",
    "&",
    "*",
    "!",
    "|",
    ">",
    "'EOD'",
    "EOD",
    "\u{e4}",
    "\u{1f6a2}",
    "\u{2028}",
    "\u{85}",
    "\u{feff}",
    "\u{a0}",
    "no",
    "0644",
    "---\n",
];
