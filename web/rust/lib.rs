//! The dashboard's files, embedded. Owns the mapping from a URL path to bytes, type and caching
//! rules of `web/dist`; must never touch the network, the disk or anything that needs a login.
#![warn(missing_docs)]

use std::borrow::Cow;

use rust_embed::{EmbeddedFile, RustEmbed};

/// The page that every route of the single-page application starts from.
const INDEX: &str = "index.html";

/// Files here carry a content hash in their name, so a browser may keep them for ever.
const HASHED_PREFIX: &str = "assets/";

#[derive(RustEmbed)]
#[folder = "dist"]
struct Dist;

/// One static file, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asset {
    /// The file's content.
    pub bytes: Cow<'static, [u8]>,
    /// Value of `content-type`.
    pub mime: &'static str,
    /// Value of `etag`, quotes included: the content's SHA-256.
    pub etag: String,
    /// True if the name changes with the content: `cache-control: immutable` is right. False: the
    /// browser must ask again (`no-cache`).
    pub immutable: bool,
}

/// The file for a URL path such as `/assets/index-1a2b.js`.
///
/// A path without a file extension is a route of the application and gets `index.html`; a missing
/// file gets `None`, so that an outdated page notices instead of reading HTML as a script.
pub fn asset(path: &str) -> Option<Asset> {
    let path = path.trim_start_matches('/');
    if !path.is_empty()
        && let Some(file) = Dist::get(path)
    {
        return Some(to_asset(path, file));
    }
    if is_route(path) {
        return Dist::get(INDEX).map(|file| to_asset(INDEX, file));
    }
    None
}

/// Device and system names may hold dots, so only the `assets/` folder and the known kinds of
/// top-level files are taken for files.
fn is_route(path: &str) -> bool {
    !path.starts_with(HASHED_PREFIX) && (path.contains('/') || mime(path) == OCTETS)
}

const OCTETS: &str = "application/octet-stream";

fn mime(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("ico") => "image/x-icon",
        Some("woff2") => "font/woff2",
        Some("json") => "application/json",
        Some("webmanifest") => "application/manifest+json",
        Some("txt") => "text/plain; charset=utf-8",
        _ => OCTETS,
    }
}

fn to_asset(path: &str, file: EmbeddedFile) -> Asset {
    use std::fmt::Write as _;

    let hash = file.metadata.sha256_hash();
    let mut etag = String::with_capacity(hash.len() * 2 + 2);
    etag.push('"');
    for byte in hash {
        // Writing to a String can't fail.
        let _ = write!(etag, "{byte:02x}");
    }
    etag.push('"');
    Asset {
        bytes: file.data,
        mime: mime(path),
        etag,
        immutable: path.starts_with(HASHED_PREFIX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_and_every_route_get_the_page() {
        for path in [
            "",
            "/",
            "/fleet",
            "/systems/entrance",
            "/devices/pi.local",
            "/a/b.js",
        ] {
            let page = asset(path).unwrap_or_else(|| panic!("no page for {path:?}"));
            assert_eq!(page.mime, "text/html; charset=utf-8", "{path}");
            assert!(!page.immutable, "{path}");
            assert!(page.bytes.starts_with(b"<!doctype html>"), "{path}");
        }
    }

    #[test]
    fn a_missing_file_is_not_answered_with_the_page() {
        assert_eq!(asset("/assets/gone-123.js"), None);
        assert_eq!(asset("/robots.txt"), None);
    }

    #[test]
    fn paths_can_not_leave_the_embedded_folder() {
        assert_eq!(asset("/assets/../../Cargo.toml"), None);
    }

    #[test]
    fn every_file_the_page_names_is_embedded_and_may_be_kept() {
        let page = asset("/").expect("page");
        let html = String::from_utf8(page.bytes.into_owned()).expect("UTF-8");
        for name in html.split('"').filter(|text| text.starts_with("/assets/")) {
            let file = asset(name).unwrap_or_else(|| panic!("{name} is not embedded"));
            assert!(file.immutable);
            assert_ne!(file.mime, OCTETS, "{name}");
            assert_eq!(file.etag.len(), 66);
        }
    }

    #[test]
    fn the_etag_follows_the_content() {
        let page = asset("/").expect("page");
        assert_eq!(page, asset("/fleet").expect("page"));
    }
}
