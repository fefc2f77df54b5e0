//! Keeps passwords out of logs and conditions: user info and secret query values of every URL in a
//! text are replaced. Errs on the side of hiding too much.

/// What stands in for a secret.
pub const MASK: &str = "***";

const SECRET_KEYS: [&str; 8] = [
    "password", "passwd", "pwd", "pass", "token", "key", "secret", "auth",
];

/// Whether there is something to hide in a URL.
pub fn has_credentials(url: &str) -> bool {
    mask_credentials(url) != url
}

/// A URL that names a user, with that user's password. `None`: it names none, or has a password.
pub fn with_password(url: &str, password: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (user, _) = rest[..end].rsplit_once('@')?;
    if user.is_empty() || user.contains(':') {
        return None;
    }
    let mut coded = String::new();
    for byte in password.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            coded.push(char::from(byte));
        } else {
            coded.push_str(&format!("%{byte:02X}"));
        }
    }
    Some(format!("{scheme}://{user}:{coded}{}", &rest[user.len()..]))
}

/// The text with the credentials of its URLs replaced by [`MASK`].
pub fn mask_credentials(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        // Quotes don't end it: they may be part of a password.
        let end = after.find(char::is_whitespace).unwrap_or(after.len());
        let (url, tail) = after.split_at(end);
        mask_url(url, &mut out);
        rest = tail;
    }
    out.push_str(rest);
    out
}

/// `url` without its scheme.
fn mask_url(url: &str, out: &mut String) {
    // The last `@`, since passwords are often written with `@` and `/` as they are.
    let location = match url.rsplit_once('@') {
        Some((_, location)) => {
            out.push_str(MASK);
            out.push('@');
            location
        }
        None => url,
    };
    let mut parts = location.split_inclusive(['?', '&', ';']);
    out.push_str(parts.next().unwrap_or_default());
    for part in parts {
        match part.split_once('=') {
            Some((key, value)) if is_secret(key) => {
                out.push_str(key);
                out.push('=');
                out.push_str(MASK);
                if let Some(end) = value
                    .chars()
                    .last()
                    .filter(|c| matches!(c, '?' | '&' | ';'))
                {
                    out.push(end);
                }
            }
            _ => out.push_str(part),
        }
    }
}

fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    SECRET_KEYS.iter().any(|secret| key.contains(secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_put_behind_its_user() {
        assert_eq!(
            with_password("rtsp://admin@h:554/a@b", "p@ss/1").as_deref(),
            Some("rtsp://admin:p%40ss%2F1@h:554/a@b")
        );
        assert_eq!(
            with_password("http://u@h", "x").as_deref(),
            Some("http://u:x@h")
        );
        for url in [
            "rtsp://h/a",
            "rtsp://u:p@h/a",
            "rtsp://@h/a",
            "/a@b",
            "http://h/?a@b",
        ] {
            assert_eq!(with_password(url, "x"), None, "{url}");
        }
    }

    #[test]
    fn credentials_are_hidden_and_the_rest_is_kept() {
        let cases = [
            ("rtsp://cam.local/stream1", "rtsp://cam.local/stream1"),
            (
                "rtsp://admin:s3cret@10.0.0.7:554/h",
                "rtsp://***@10.0.0.7:554/h",
            ),
            ("rtsp://admin:p@ss/word@host/h", "rtsp://***@host/h"),
            (
                "http://h/x?user=a&password=b&n=1",
                "http://h/x?user=a&password=***&n=1",
            ),
            ("http://h/x?authToken=b", "http://h/x?authToken=***"),
            (
                "open 'rtsp://u:p@h/1': refused, then http://a:b@c",
                "open 'rtsp://***@h/1': refused, then http://***@c",
            ),
            ("'rtsp://u:it's@h/1': gone", "'rtsp://***@h/1': gone"),
            ("no url, a@b.c", "no url, a@b.c"),
        ];
        for (text, masked) in cases {
            assert_eq!(mask_credentials(text), masked);
        }
    }
}
