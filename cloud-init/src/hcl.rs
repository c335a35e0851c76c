//! HCL, as Terraform and Packer read it: values in, text out, in the form that `terraform fmt` leaves as it is.
//!
//! A value's text is quoted so that nothing in it is a template: `${` and `%{` are doubled, in quotes and in here-documents alike.

use std::fmt::Write as _;

use hcl_edit::expr::Expression;

/// What stands behind `=`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Value {
    /// In quotes; a text of whole lines as a here-document.
    Text(String),
    /// A whole number.
    Number(u64),
    /// `true` or `false`.
    Flag(bool),
    /// On one line; a here-document is an item of it only where there is no other.
    List(Vec<Value>),
    /// A reference, such as `each.value`: never somebody else's text.
    Reference(&'static str),
}

/// What stands between braces, or in a file.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Body {
    attributes: Vec<(&'static str, Value)>,
    blocks: Vec<Block>,
}

/// A block with its labels.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Block {
    kind: &'static str,
    labels: Vec<String>,
    body: Body,
}

impl Body {
    /// The same with one more attribute.
    #[must_use]
    pub fn set(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.attributes.push((name, value.into()));
        self
    }

    /// The same with one more block, behind all attributes.
    #[must_use]
    pub fn block(mut self, kind: &'static str, labels: &[&str], body: Self) -> Self {
        self.blocks.push(Block { kind, labels: labels.iter().map(|&label| label.to_owned()).collect(), body });
        self
    }

    /// The same with all blocks of another.
    #[must_use]
    pub fn with(mut self, other: Self) -> Self {
        self.blocks.extend(other.blocks);
        self
    }

    /// Its text.
    pub fn text(&self) -> String {
        let mut out = String::new();
        self.write(&mut out, 0);
        out
    }

    fn write(&self, out: &mut String, depth: usize) {
        let indent = "  ".repeat(depth);
        // A bracket that stays open on its line has no part in what is aligned.
        let is_open = |value: &Value| matches!(value, Value::List(_)) && whole(value, "").contains('\n');
        let aligned = self.attributes.iter().filter(|(_, value)| !is_open(value));
        let widest = aligned.map(|(name, _)| name.len()).max().unwrap_or_default();
        for (name, value) in &self.attributes {
            let width = if is_open(value) { 0 } else { widest };
            let _ = writeln!(out, "{indent}{name:width$} = {}", whole(value, &indent));
        }
        for (index, Block { kind, labels, body }) in self.blocks.iter().enumerate() {
            if index > 0 || !self.attributes.is_empty() {
                out.push('\n');
            }
            let head: Vec<String> = std::iter::once((*kind).to_owned()).chain(labels.iter().map(|label| quoted(label))).collect();
            let _ = writeln!(out, "{indent}{} {{", head.join(" "));
            body.write(out, depth + 1);
            let _ = writeln!(out, "{indent}}}");
        }
    }
}

fn whole(value: &Value, indent: &str) -> String {
    match value {
        Value::Text(text) if is_lines(text) => here(text),
        Value::List(items) => match items.as_slice() {
            [Value::Text(text)] if is_lines(text) => format!("[{}\n{indent}]", here(text)),
            _ => inline(value),
        },
        other => inline(other),
    }
}

fn inline(value: &Value) -> String {
    match value {
        Value::Text(text) => quoted(text),
        Value::Number(number) => number.to_string(),
        Value::Flag(flag) => flag.to_string(),
        Value::List(items) => format!("[{}]", items.iter().map(inline).collect::<Vec<_>>().join(", ")),
        Value::Reference(reference) => (*reference).to_owned(),
    }
}

/// Several lines, each of them whole, and nothing that a here-document would change.
fn is_lines(text: &str) -> bool {
    text.ends_with('\n') && text.matches('\n').count() > 1 && !text.contains(|c: char| c.is_control() && c != '\n' && c != '\t')
}

fn quoted(text: &str) -> String {
    Expression::from(text).to_string()
}

/// From its first line to the word that ends it, with which none of its lines begins: some parsers end it there.
fn here(text: &str) -> String {
    let mut end = "EOT".to_owned();
    while text.lines().any(|line| line.trim_start().starts_with(&end)) {
        end.push('T');
    }
    format!("<<{end}\n{}{end}", text.replace("${", "$${").replace("%{", "%%{"))
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<u16> for Value {
    fn from(number: u16) -> Self {
        Self::Number(number.into())
    }
}

impl<V: Into<Self>> From<Vec<V>> for Value {
    fn from(items: Vec<V>) -> Self {
        Self::List(items.into_iter().map(Into::into).collect())
    }
}

#[cfg(test)]
mod tests {
    use hcl_edit::structure::Body as Parsed;
    use hcl_edit::template::Element;
    use proptest::prelude::*;

    use super::*;

    /// What a parser of its own makes of the attribute `x`; `None` where it finds a template that is more than text.
    fn read(text: &str) -> Option<String> {
        let body: Parsed = text.parse().unwrap_or_else(|error| panic!("{text}\n{error}"));
        let plain = |elements: &mut dyn Iterator<Item = &Element>| {
            elements
                .map(|element| if let Element::Literal(literal) = element { Some(literal.as_str().to_owned()) } else { None })
                .collect::<Option<String>>()
        };
        match &body.get_attribute("x").expect("it is there").value {
            Expression::String(text) => Some(text.to_string()),
            Expression::StringTemplate(template) => plain(&mut template.iter()),
            Expression::HeredocTemplate(heredoc) => plain(&mut heredoc.template.iter()),
            other => panic!("{other:?} is no text"),
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_what_was_written(text in "([a-z$%{}\\\\\"'\n EOT~]|\\PC){0,40}") {
            prop_assert_eq!(read(&Body::default().set("x", text.as_str()).text()), Some(text));
        }

        #[test]
        fn what_is_read_of_whole_lines_is_what_was_written(text in "([ a-z$%{}\\\\\"'EOT]{0,12}\n){2,6}") {
            prop_assert_eq!(read(&Body::default().set("x", text.as_str()).text()), Some(text));
        }
    }

    #[test]
    fn it_looks_as_terraform_formats_it() {
        let inner = Body::default().set("from_port", 443).set("cidr", vec!["10.0.0.0/8", "${x}"]);
        let body = Body::default()
            .set("a", "b")
            .set("long_name", Value::Flag(true))
            .block("resource", &["kind", "name"], inner.clone())
            .block("part", &[], inner);
        insta::assert_snapshot!(body.text(), @r#"
        a         = "b"
        long_name = true

        resource "kind" "name" {
          from_port = 443
          cidr      = ["10.0.0.0/8", "$${x}"]
        }

        part {
          from_port = 443
          cidr      = ["10.0.0.0/8", "$${x}"]
        }
        "#);
    }
}
