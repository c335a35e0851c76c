//! What a piece of user data is, which cloud-init tells by its first line or by the content type that a part of a message has.

use std::fmt;

/// What cloud-init does with it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// YAML for cloud-init's modules.
    CloudConfig,
    /// A program that runs once, at the end of the first boot.
    Script,
    /// A program that runs at each boot, before most else.
    Boothook,
    /// URLs whose contents are taken in.
    Include,
    /// The same, fetched once.
    IncludeOnce,
    /// Python that treats further kinds.
    PartHandler,
    /// Several pieces as a YAML list.
    Archive,
    /// A JSON patch on the cloud-config so far.
    Jsonp,
    /// Any of these, as a template over what the provider tells of the machine.
    Jinja,
}

impl Kind {
    /// All of them, the longer first lines before those that they begin with.
    pub const ALL: [Self; 9] = [
        Self::Archive,
        Self::Jsonp,
        Self::CloudConfig,
        Self::Script,
        Self::Boothook,
        Self::IncludeOnce,
        Self::Include,
        Self::PartHandler,
        Self::Jinja,
    ];

    /// By the first line, as cloud-init tells: white space before it and the case of letters do not count.
    pub fn of_text(text: &str) -> Option<Self> {
        let first = text.trim_start().lines().next().unwrap_or_default().to_lowercase();
        Self::ALL.into_iter().find(|kind| first.starts_with(kind.first_line()))
    }

    /// By a part's content type.
    pub fn of_content_type(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.content_type() == name)
    }

    /// How the text begins.
    pub fn first_line(self) -> &'static str {
        match self {
            Self::CloudConfig => "#cloud-config",
            Self::Script => "#!",
            Self::Boothook => "#cloud-boothook",
            Self::Include => "#include",
            Self::IncludeOnce => "#include-once",
            Self::PartHandler => "#part-handler",
            Self::Archive => "#cloud-config-archive",
            Self::Jsonp => "#cloud-config-jsonp",
            Self::Jinja => "## template: jinja",
        }
    }

    /// In a part's header.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::CloudConfig => "text/cloud-config",
            Self::Script => "text/x-shellscript",
            Self::Boothook => "text/cloud-boothook",
            Self::Include => "text/x-include-url",
            Self::IncludeOnce => "text/x-include-once-url",
            Self::PartHandler => "text/part-handler",
            Self::Archive => "text/cloud-config-archive",
            Self::Jsonp => "text/cloud-config-jsonp",
            Self::Jinja => "text/jinja2",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CloudConfig => "cloud-config",
            Self::Script => "a script",
            Self::Boothook => "a boot hook",
            Self::Include | Self::IncludeOnce => "a list of URLs",
            Self::PartHandler => "a part handler",
            Self::Archive => "an archive",
            Self::Jsonp => "a JSON patch",
            Self::Jinja => "a template",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_says_what_it_is() {
        for (text, kind) in [
            ("#cloud-config\nruncmd: []\n", Some(Kind::CloudConfig)),
            ("\n\n  #Cloud-Config\n", Some(Kind::CloudConfig)),
            ("#cloud-config-archive\n- x\n", Some(Kind::Archive)),
            ("#!/bin/sh\n", Some(Kind::Script)),
            ("#include-once\nhttps://x\n", Some(Kind::IncludeOnce)),
            ("#include\nhttps://x\n", Some(Kind::Include)),
            ("## template: jinja\n#cloud-config\n", Some(Kind::Jinja)),
            ("# cloud-config\n", None),
            ("runcmd: []\n#cloud-config\n", None),
            ("\u{feff}#cloud-config\n", None),
            ("", None),
        ] {
            assert_eq!(Kind::of_text(text), kind, "{text:?}");
        }
    }

    #[test]
    fn each_kind_is_known_by_its_own_line_and_type() {
        for kind in Kind::ALL {
            assert_eq!(Kind::of_text(kind.first_line()), Some(kind));
            assert_eq!(Kind::of_content_type(kind.content_type()), Some(kind));
        }
    }
}
