//! As much of XML as AWS answers with: elements with texts in them. Attributes, comments and what else there may be are passed over.

use std::iter;

/// An element.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Element {
    name: String,
    text: String,
    children: Vec<Element>,
}

impl Element {
    /// The document's one element; `None` for what is no XML.
    pub(super) fn read(text: &str) -> Option<Self> {
        let (mut open, mut rest) = (vec![Self::default()], text);
        while let Some(begin) = rest.find('<') {
            open.last_mut()?.text.push_str(&unescaped(&rest[..begin]));
            rest = &rest[begin..];
            if let Some(after) = rest.strip_prefix("<!--") {
                rest = after.split_once("-->")?.1;
                continue;
            }
            let (tag, after) = rest[1..].split_once('>')?;
            rest = after;
            if tag.starts_with(['?', '!']) {
                continue;
            }
            let is_empty = tag.ends_with('/');
            if let Some(name) = tag.strip_prefix('/') {
                let closed = open.pop().filter(|element| element.name == name.trim())?;
                open.last_mut()?.children.push(closed);
                continue;
            }
            let name = tag.trim_end_matches('/').split_whitespace().next()?.to_owned();
            let element = Self { name, ..Self::default() };
            if is_empty {
                open.last_mut()?.children.push(element);
            } else {
                open.push(element);
            }
            if open.len() > DEEPEST {
                return None;
            }
        }
        let document = open.pop().filter(|_| open.is_empty())?;
        let [root] = <[Self; 1]>::try_from(document.children).ok()?;
        Some(root)
    }

    /// What it is called.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The text of the element that this path of names leads to first.
    pub(super) fn text(&self, path: &[&str]) -> Option<&str> {
        let found = path.iter().try_fold(self, |element, name| element.children.iter().find(|child| child.name == *name))?;
        Some(found.text.trim())
    }

    /// All elements with this name, at any depth.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
        let own = iter::once(self).filter(move |element| element.name == name);
        Box::new(own.chain(self.children.iter().flat_map(move |child| child.all(name))))
    }
}

/// A text as it stands between tags.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn unescaped(text: &str) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once('&') {
        out.push_str(before);
        let Some((entity, behind)) = after.split_once(';') else {
            out.push('&');
            rest = after;
            continue;
        };
        let number = |digits: &str| match digits.strip_prefix('x') {
            Some(hex) => u32::from_str_radix(hex, 16).ok(),
            None => digits.parse().ok(),
        };
        let meant = match entity {
            "amp" => Some('&'),
            "apos" => Some('\''),
            "gt" => Some('>'),
            "lt" => Some('<'),
            "quot" => Some('"'),
            other => other.strip_prefix('#').and_then(number).and_then(char::from_u32),
        };
        out.extend(meant);
        rest = behind;
    }
    out + rest
}

/// AWS's answers have six.
const DEEPEST: usize = 32;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_answer_of_awss_is_read() {
        let text = "<?xml version=\"1.0\"?>\n<Answer xmlns=\"https://x/\">\n<!-- a > b -->\n<Zones><Zone><Id>/hostedzone/Z1</Id><Empty/></Zone>\
            <Zone><Id>&quot;a&quot; &#38; &#x3c;</Id></Zone></Zones></Answer>\n";
        let read = Element::read(text).expect("XML");
        assert_eq!(read.name(), "Answer");
        let ids: Vec<_> = read.all("Zone").map(|zone| zone.text(&["Id"])).collect();
        assert_eq!(ids, [Some("/hostedzone/Z1"), Some("\"a\" & <")]);
        assert_eq!((read.text(&["Zones", "Zone", "Empty"]), read.text(&["Nothing"])), (Some(""), None));
        for wrong in ["", "text", "<a>", "<a></b>", "</a>", "<a/><b/>", "<a", "<>", "{\"a\": 1}"] {
            assert_eq!(Element::read(wrong), None, "{wrong}");
        }
        assert_eq!(Element::read(&"<a>".repeat(100_000)), None);
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "\\PC{0,80}|([<>/&;?!a-]|<a>|</a>|<!--|-->){0,40}") {
            let _ = Element::read(&text);
        }

        #[test]
        fn what_is_escaped_is_read_back(text in "\\PC{0,40}") {
            let read = Element::read(&format!("<a>{}</a>", escaped(&text))).expect("XML");
            prop_assert_eq!(read.text(&[]).expect("its own"), text.trim());
        }
    }
}
