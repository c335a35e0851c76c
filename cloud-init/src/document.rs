//! What a generator makes: texts with the names under which a user keeps them. Values.

use std::fmt;

/// One text.
#[derive(Clone, Eq, PartialEq)]
pub struct Document {
    /// The file's name, without a folder.
    pub name: &'static str,
    /// What becomes of it: where it is put, or who reads it. One line.
    pub what: &'static str,
    /// Its text. In each of the languages that are written here a line that begins with `#` is a comment.
    pub text: String,
    /// Whether it is run.
    pub program: bool,
    /// Whether a key is in it.
    pub secret: bool,
}

/// Its text may hold a key.
impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Document").field("name", &self.name).field("bytes", &self.text.len()).finish_non_exhaustive()
    }
}

impl Document {
    /// A file that is read.
    pub fn new(name: &'static str, what: &'static str, text: String) -> Self {
        Self { name, what, text, program: false, secret: false }
    }

    /// A program.
    pub fn program(name: &'static str, what: &'static str, text: String) -> Self {
        Self { program: true, ..Self::new(name, what, text) }
    }

    /// One that has a key in it, or may have.
    pub fn with_secret(self, secret: bool) -> Self {
        Self { secret, ..self }
    }
}

/// All of them in one text, each below a line that names it; one alone as it is.
pub fn joined(documents: &[Document]) -> String {
    match documents {
        [one] => one.text.clone(),
        all => all
            .iter()
            .map(|document| format!("# ==== {}: {}\n{}", document.name, document.what, document.text))
            .collect::<Vec<_>>()
            .join("\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_documents_are_told_apart_and_one_is_itself() {
        let (one, two) =
            (Document::new("a.yaml", "is read", "a: 1\n".to_owned()), Document::program("b", "is run", "#!/bin/sh\n".to_owned()));
        assert_eq!(joined(std::slice::from_ref(&one)), "a: 1\n");
        assert_eq!(joined(&[one, two]), "# ==== a.yaml: is read\na: 1\n\n# ==== b: is run\n#!/bin/sh\n");
    }
}
