//! Links in a page that came through the proxy: those that lead to the server's own root lead through the proxy from then on.
//!
//! Only the attributes that upstream rewrites are looked at, tag by tag, without a tree: what is no tag, a comment or a script stays as it
//! is, byte by byte. A page that is packed, or too large, is passed on as it came.

use super::{Body, streamed};
use crate::limits;
use bytes::Bytes;
use futures_util::StreamExt;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::Response;
use hyper::body::{Frame, Incoming};
use hyper::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};
use std::convert::Infallible;

/// The tags whose attributes hold addresses.
const LINKS: &[(&str, &[&str])] = &[
    ("a", &["href"]),
    ("applet", &["codebase"]),
    ("area", &["href"]),
    ("audio", &["src"]),
    ("base", &["href"]),
    ("blockquote", &["cite"]),
    ("body", &["background"]),
    ("button", &["formaction"]),
    ("command", &["icon"]),
    ("del", &["cite"]),
    ("embed", &["src"]),
    ("form", &["action"]),
    ("frame", &["longdesc", "src"]),
    ("head", &["profile"]),
    ("html", &["manifest"]),
    ("iframe", &["longdesc", "src"]),
    ("img", &["longdesc", "src", "usemap"]),
    ("input", &["formaction", "src", "usemap"]),
    ("ins", &["cite"]),
    ("link", &["href"]),
    ("object", &["classid", "codebase", "data", "usemap"]),
    ("q", &["cite"]),
    ("script", &["src"]),
    ("source", &["src"]),
    ("video", &["poster", "src"]),
];

/// Tags between whose beginning and end there are no others.
const RAW: [&str; 4] = ["script", "style", "textarea", "title"];

/// Whether an answer is a page whose links can be read.
pub fn is_page(headers: &HeaderMap) -> bool {
    let of = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let of = of.split(';').next().unwrap_or_default().trim();
    of.eq_ignore_ascii_case("text/html") && !headers.contains_key(CONTENT_ENCODING)
}

/// The same answer with links through the proxy. One whose body breaks off breaks off here, too.
pub async fn through(response: Response<Incoming>, prefix: &str) -> Response<Body> {
    let (mut parts, mut body) = response.into_parts();
    let mut page = Vec::new();
    while page.len() <= limits::PROXY_PAGE_BYTES {
        match body.frame().await {
            Some(Ok(frame)) => page.extend(frame.into_data().unwrap_or_default()),
            Some(Err(_)) => break,
            None => {
                let page = Bytes::from(rewritten(&page, prefix));
                parts.headers.insert(CONTENT_LENGTH, page.len().into());
                return Response::from_parts(parts, Full::new(page).boxed_unsync());
            }
        }
    }
    let first = futures_util::stream::iter([Ok::<_, Infallible>(Frame::data(Bytes::from(page)))]);
    let rest = http_body_util::BodyStream::new(streamed(body));
    Response::from_parts(parts, StreamBody::new(first.chain(rest)).boxed_unsync())
}

/// A page with the prefix put before each address that begins at the server's root.
pub fn rewritten(page: &[u8], prefix: &str) -> Vec<u8> {
    let mut into = Vec::with_capacity(page.len() + page.len() / 8);
    let mut rest = page;
    while let Some(at) = rest.iter().position(|byte| *byte == b'<') {
        into.extend_from_slice(&rest[..at]);
        rest = &rest[at..];
        let plain = match rest {
            [_, b'!', b'-', b'-', ..] => find(rest, b"-->").map_or(rest.len(), |end| end + 3),
            [_, first, ..] if first.is_ascii_alphabetic() => {
                rest = &rest[tag(rest, prefix, &mut into)..];
                continue;
            }
            _ => 1,
        };
        into.extend_from_slice(&rest[..plain]);
        rest = &rest[plain..];
    }
    into.extend_from_slice(rest);
    into
}

/// Where a word is, in whatever case.
fn find(text: &[u8], word: &[u8]) -> Option<usize> {
    text.windows(word.len()).position(|window| window.eq_ignore_ascii_case(word))
}

fn span(text: &[u8], of: impl Fn(u8) -> bool) -> usize {
    text.iter().position(|byte| !of(*byte)).unwrap_or(text.len())
}

/// Writes a tag, and what is between it and its end if that is no markup; how many bytes that were.
fn tag(text: &[u8], prefix: &str, into: &mut Vec<u8>) -> usize {
    let name_ends = 1 + span(&text[1..], |byte| byte.is_ascii_alphanumeric());
    let name = text[1..name_ends].to_ascii_lowercase();
    let links = LINKS.iter().find(|(tag, _)| tag.as_bytes() == name).map_or(&[][..], |(_, links)| *links);
    into.extend_from_slice(&text[..name_ends]);
    let mut at = name_ends;
    while at < text.len() && text[at] != b'>' {
        at += attribute(&text[at..], links, prefix, into);
    }
    if RAW.iter().any(|raw| raw.as_bytes() == name) {
        let close = [b"</", name.as_slice()].concat();
        let length = find(&text[at..], &close).unwrap_or(text.len() - at);
        into.extend_from_slice(&text[at..at + length]);
        at += length;
    }
    at
}

/// Writes what a tag has next: an attribute, or what stands between two; how many bytes that were.
fn attribute(text: &[u8], links: &[&str], prefix: &str, into: &mut Vec<u8>) -> usize {
    let is_name =
        |byte: u8| !byte.is_ascii_whitespace() && !matches!(byte, b'=' | b'>' | b'/' | b'"' | b'\'');
    let name = span(text, is_name);
    if name == 0 {
        into.push(text[0]);
        return 1;
    }
    let mut at = name + span(&text[name..], |byte| byte.is_ascii_whitespace());
    if text.get(at) != Some(&b'=') {
        into.extend_from_slice(&text[..name]);
        return name;
    }
    at += 1;
    at += span(&text[at..], |byte| byte.is_ascii_whitespace());
    let quote = text.get(at).copied().filter(|byte| matches!(byte, b'"' | b'\''));
    let from = at + usize::from(quote.is_some());
    let length = match quote {
        Some(quote) => span(&text[from..], |byte| byte != quote),
        None => span(&text[from..], |byte| !byte.is_ascii_whitespace() && byte != b'>'),
    };
    into.extend_from_slice(&text[..from]);
    let value = &text[from..from + length];
    if links.iter().any(|link| link.as_bytes().eq_ignore_ascii_case(&text[..name]))
        && is_rooted(value, prefix)
    {
        into.extend_from_slice(prefix.as_bytes());
    }
    into.extend_from_slice(value);
    let closing = quote.filter(|_| from + length < text.len());
    into.extend(closing);
    from + length + usize::from(closing.is_some())
}

/// Whether an address begins at the server's root, and not with the prefix already.
fn is_rooted(address: &[u8], prefix: &str) -> bool {
    address.starts_with(b"/") && !address.starts_with(b"//") && !address.starts_with(prefix.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PREFIX: &str = "/pods/a/proxy";

    #[track_caller]
    fn check(page: &str, expected: &str) {
        assert_eq!(String::from_utf8(rewritten(page.as_bytes(), PREFIX)).unwrap(), expected);
    }

    #[test]
    fn links_to_the_root_lead_through_the_proxy() {
        check("<a href=\"/rewriteme\">test</a>", "<a href=\"/pods/a/proxy/rewriteme\">test</a>");
        check("<IMG alt='/x' SRC = '/y.png' />", "<IMG alt='/x' SRC = '/pods/a/proxy/y.png' />");
        check("<link rel=x href=/a.css><p>", "<link rel=x href=/pods/a/proxy/a.css><p>");
        check(
            "<html><body background=\"/b\">ü</body>",
            "<html><body background=\"/pods/a/proxy/b\">ü</body>",
        );
    }

    #[test]
    fn what_leads_elsewhere_or_is_no_link_stays() {
        for page in [
            "",
            "no page < 3",
            "<",
            "<a",
            "<a href",
            "<a href=",
            "<a href=\"",
            "<a href=\"next\">",
            "<a href=\"//elsewhere/\">",
            "<a href=\"https://elsewhere/\">",
            "<a href=\"/pods/a/proxy/x\">",
            "<p title=\"/x\">/y</p>",
            "<!-- <a href=\"/x\"> -->",
            "<!doctype html>",
            "<script>if (a < b) { x = '<a href=\"/x\">' }</script>",
        ] {
            check(page, page);
        }
        check("<script src=\"/s.js\">'</a>'</script>", "<script src=\"/pods/a/proxy/s.js\">'</a>'</script>");
    }

    proptest::proptest! {
        #[test]
        fn any_text_without_links_to_the_root_stays_as_it_is(text in "[<>a-c =\"'!hrefsip-]{0,80}") {
            proptest::prop_assert_eq!(rewritten(text.as_bytes(), PREFIX), text.as_bytes());
        }
    }
}
