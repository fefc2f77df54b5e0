//! Keeps passwords out of logs and conditions: user info and secret query values of every URL in a
//! text are replaced. Errs on the side of hiding too much.

/// What stands in for a secret.
pub const MASK: &str = "***";

const SECRET_KEYS: [&str; 8] = [
    "password", "passwd", "pwd", "pass", "token", "key", "secret", "auth",
];

/// The text with the credentials of its URLs replaced by [`MASK`].
pub fn mask_credentials(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let end = after
            .find(|c: char| c.is_whitespace() || matches!(c, '\'' | '"' | '<' | '>'))
            .unwrap_or(after.len());
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
            ("no url, a@b.c", "no url, a@b.c"),
        ];
        for (text, masked) in cases {
            assert_eq!(mask_credentials(text), masked);
        }
    }
}
