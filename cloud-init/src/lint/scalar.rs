//! What a text without quotes is for YAML 1.1, which cloud-init reads by: `no` is false, `0644` is 420, `12:30` is 750.

/// What it is taken for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reading {
    /// What it looks like.
    Text,
    /// `yes`, `no`, `on`, `off`, `true`, `false`, in three spellings each.
    Bool(bool),
    /// Digits alone.
    Decimal,
    /// A zero and digits below eight.
    Octal,
    /// `0x1f`, `0b11`.
    Based,
    /// `12:30`, digits to the base of sixty.
    Sexagesimal,
    /// `1.10`, which is 1.1.
    Float,
    /// `2024-01-31`.
    Date,
    /// `~`, `null`, nothing.
    Null,
}

impl Reading {
    /// Of a text that stands without quotes.
    pub fn of(text: &str) -> Self {
        let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
        match text {
            "" | "~" | "null" | "Null" | "NULL" => Self::Null,
            "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Self::Bool(true),
            "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => Self::Bool(false),
            _ if is_date(text) => Self::Date,
            _ => number(unsigned, unsigned.len() < text.len()).unwrap_or(Self::Text),
        }
    }

    /// In words; `None` for what is a text.
    pub fn words(self) -> Option<&'static str> {
        match self {
            Self::Text => None,
            Self::Bool(true) => Some("the boolean true"),
            Self::Bool(false) => Some("the boolean false"),
            Self::Decimal | Self::Based => Some("a number"),
            Self::Octal => Some("a number to the base of eight"),
            Self::Sexagesimal => Some("a number to the base of sixty"),
            Self::Float => Some("a number with a fraction, which loses its last zeros"),
            Self::Date => Some("a date"),
            Self::Null => Some("nothing"),
        }
    }
}

/// `is_signed`: there was a sign before it.
fn number(text: &str, is_signed: bool) -> Option<Reading> {
    let based = |prefix: &str, digits: &str| {
        let rest = text.strip_prefix(prefix)?;
        (!rest.is_empty() && rest.chars().all(|c| digits.contains(c))).then_some(Reading::Based)
    };
    if let Some(reading) = based("0b", "01_").or_else(|| based("0x", "0123456789abcdefABCDEF_")) {
        return Some(reading);
    }
    let first = text.chars().next()?;
    let (integer, rest) = text.split_at(text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len()));
    if rest.is_empty() && first == '0' && text.len() > 1 {
        return text[1..].chars().all(|c| matches!(c, '0'..='7' | '_')).then_some(Reading::Octal);
    }
    if rest.is_empty() {
        return (first.is_ascii_digit()).then_some(Reading::Decimal);
    }
    if matches!(text, ".inf" | ".Inf" | ".INF") || !is_signed && matches!(text, ".nan" | ".NaN" | ".NAN") {
        return Some(Reading::Float);
    }
    let is_float = |fraction: &str| {
        let (digits, exponent) = fraction.split_once(['e', 'E']).map_or((fraction, None), |(digits, exponent)| (digits, Some(exponent)));
        let is_exponent = |text: &str| {
            text.strip_prefix(['-', '+']).is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
        };
        digits.chars().all(|c| c.is_ascii_digit() || c == '_') && exponent.is_none_or(is_exponent)
    };
    if let Some(fraction) = rest.strip_prefix('.') {
        let begins =
            if integer.is_empty() { !is_signed && fraction.starts_with(|c: char| c.is_ascii_digit()) } else { first.is_ascii_digit() };
        return (begins && is_float(fraction)).then_some(Reading::Float);
    }
    let (sixties, fraction) = rest.split_once('.').map_or((rest, None), |(sixties, fraction)| (sixties, Some(fraction)));
    let is_sixty = |digits: &str| {
        let bytes = digits.as_bytes();
        matches!(bytes.len(), 1 | 2) && bytes.iter().all(u8::is_ascii_digit) && (bytes.len() == 1 || bytes[0] < b'6')
    };
    let is_sexagesimal = sixties.strip_prefix(':').is_some_and(|sixties| sixties.split(':').all(is_sixty));
    let is_whole = fraction.is_none_or(|digits| digits.chars().all(|c| c.is_ascii_digit() || c == '_'));
    let begins = if fraction.is_some() { first.is_ascii_digit() } else { matches!(first, '1'..='9') };
    (is_sexagesimal && is_whole && begins).then_some(Reading::Sexagesimal)
}

/// `YYYY-MM-DD`, and with a time behind it in more spellings.
fn is_date(text: &str) -> bool {
    let mut parts = text.splitn(3, '-');
    let (Some(year), Some(month), Some(rest)) = (parts.next(), parts.next(), parts.next()) else { return false };
    let digits = |text: &str, lengths: std::ops::RangeInclusive<usize>| {
        lengths.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    let day = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (day, time) = rest.split_at(day);
    if time.is_empty() {
        return digits(year, 4..=4) && digits(month, 2..=2) && digits(day, 2..=2);
    }
    let time = time.strip_prefix(['T', 't']).or_else(|| Some(time.trim_start_matches([' ', '\t'])).filter(|rest| rest.len() < time.len()));
    digits(year, 4..=4) && digits(month, 1..=2) && digits(day, 1..=2) && time.is_some_and(is_time)
}

/// `H:MM:SS` with a fraction and a zone.
fn is_time(text: &str) -> bool {
    let clock = text.find(|c: char| !c.is_ascii_digit() && c != ':').unwrap_or(text.len());
    let (clock, rest) = text.split_at(clock);
    let fields: Vec<&str> = clock.split(':').collect();
    let [hour, minute, second] = fields[..] else { return false };
    let rest = rest.strip_prefix('.').map_or(rest, |rest| rest.trim_start_matches(|c: char| c.is_ascii_digit()));
    let zone = rest.trim_start_matches([' ', '\t']);
    let is_zone = |zone: &str| {
        let Some(digits) = zone.strip_prefix(['-', '+']) else { return false };
        let (hours, minutes) = match digits.split_once(':') {
            Some((hours, minutes)) => (hours, minutes),
            None if digits.len() > 2 => digits.split_at(digits.len() - 2),
            None => (digits, "00"),
        };
        matches!(hours.len(), 1 | 2) && minutes.len() == 2 && format!("{hours}{minutes}").bytes().all(|byte| byte.is_ascii_digit())
    };
    matches!(hour.len(), 1 | 2)
        && minute.len() == 2
        && second.len() == 2
        && (matches!(zone, "" | "Z") && (rest.is_empty() || zone == "Z") || is_zone(zone))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_text_is_read_as_yaml_1_1_reads_it() {
        for (texts, reading) in [
            (&["yes", "On", "TRUE"][..], Reading::Bool(true)),
            (&["no", "Off", "FALSE"], Reading::Bool(false)),
            (&["0", "644", "-7", "+1_000"], Reading::Decimal),
            (&["0644", "01", "-07_7"], Reading::Octal),
            (&["0x1f", "0b1_0"], Reading::Based),
            (&["12:30", "1:2:3", "22:22", "190:20:30.15", "-1:59"], Reading::Sexagesimal),
            (&["1.10", ".5", "1.", "6.8523015e+5", "-.inf", ".NaN", "0.1"], Reading::Float),
            (&["2024-01-31", "2001-12-14t21:59:43.10-05:00", "2001-1-1 2:59:43 +1", "2001-12-15 2:59:43.1Z"], Reading::Date),
            (&["", "~", "null"], Reading::Null),
            (
                &[
                    "y",
                    "n",
                    "yEs",
                    "0o644",
                    "0888",
                    "1e5",
                    "12:60",
                    "0:30",
                    "5:18.09.9",
                    "a",
                    "1a",
                    "0x",
                    "0b2",
                    ".",
                    "-",
                    "2024-1-31",
                    "1:2:",
                    "_1",
                    "192.0.2.1",
                    "2001-12-14t21:59",
                    "1.5e3",
                ],
                Reading::Text,
            ),
        ] {
            for text in texts {
                // `5:18.09.9` has two points: a version, and no number.
                assert_eq!(Reading::of(text), reading, "{text}");
            }
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "[-+0-9a-fxob_:.eETtZ \\PC]{0,12}") {
            let _ = Reading::of(&text);
        }
    }
}
