//! Links in a page that came through the proxy: those that lead to the server's own root lead through the proxy from then on.
//!
//! Only the attributes that upstream rewrites are looked at, tag by tag, without a tree: what is no tag, a comment or a script stays as it
//! is, byte by byte. A page that says how long it is is read whole and says so again; one that does not, and may have no end, goes on as it
//! comes, but for a tag that is not whole yet. What is packed, or says that it is very large, is passed on as it came.

use super::{Body, streamed};
use crate::limits;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::Response;
use hyper::body::{Body as _, Frame, Incoming};
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

/// The same answer with links through the proxy. One that breaks off before the length that it told breaks off here, too.
pub async fn through(response: Response<Incoming>, prefix: &str) -> Response<Body> {
    let length = response.body().size_hint().exact();
    match length.map(usize::try_from) {
        None => response.map(|body| piecewise(body, Links::new(prefix))),
        Some(Ok(length)) if length <= limits::PROXY_PAGE_BYTES => whole(response, Links::new(prefix)).await,
        Some(_) => response.map(streamed),
    }
}

async fn whole(response: Response<Incoming>, mut links: Links) -> Response<Body> {
    let (mut parts, mut body) = response.into_parts();
    let mut page = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            let short = futures_util::stream::iter([Ok::<_, Infallible>(Frame::data(Bytes::from(page)))]);
            return Response::from_parts(parts, StreamBody::new(short).boxed_unsync());
        };
        page.extend(frame.into_data().unwrap_or_default());
    }
    let page = Bytes::from(links.all(&page));
    parts.headers.insert(CONTENT_LENGTH, page.len().into());
    Response::from_parts(parts, Full::new(page).boxed_unsync())
}

fn piecewise(body: Incoming, links: Links) -> Body {
    let frames = futures_util::stream::unfold(Some((body, links)), |state| async move {
        let (mut body, mut links) = state?;
        loop {
            let Some(Ok(frame)) = body.frame().await else {
                return Some((Ok::<_, Infallible>(Frame::data(Bytes::from(links.rest()))), None));
            };
            let part = links.more(&frame.into_data().unwrap_or_default());
            if !part.is_empty() {
                return Some((Ok(Frame::data(Bytes::from(part))), Some((body, links))));
            }
        }
    });
    StreamBody::new(frames).boxed_unsync()
}

/// A page as it comes, with the prefix put before each address that begins at the server's root.
struct Links {
    prefix: String,
    /// What has come and cannot be passed on yet.
    held: Vec<u8>,
    /// There is no markup before this word.
    until: Option<Vec<u8>>,
}

impl Links {
    fn new(prefix: &str) -> Links {
        Links { prefix: prefix.to_owned(), held: Vec::new(), until: None }
    }

    /// What can be passed on, now that this has come.
    fn more(&mut self, part: &[u8]) -> Vec<u8> {
        self.held.extend_from_slice(part);
        self.pass(false)
    }

    /// What is left, now that nothing more comes.
    fn rest(&mut self) -> Vec<u8> {
        self.pass(true)
    }

    fn all(&mut self, page: &[u8]) -> Vec<u8> {
        self.held.extend_from_slice(page);
        self.pass(true)
    }

    fn pass(&mut self, last: bool) -> Vec<u8> {
        let held = std::mem::take(&mut self.held);
        let mut into = Vec::with_capacity(held.len() + held.len() / 8);
        let mut rest = &held[..];
        while let Some(length) = self.step(rest, last, &mut into) {
            rest = &rest[length..];
        }
        self.held = rest.to_vec();
        into
    }

    /// Writes what comes next; how many bytes that was. `None` where more has to come first.
    fn step(&mut self, text: &[u8], last: bool, into: &mut Vec<u8>) -> Option<usize> {
        let plain = match (&self.until, text) {
            (_, []) => return None,
            (Some(word), _) => match find(text, word) {
                Some(at) => {
                    self.until = None;
                    at
                }
                None if last => text.len(),
                // The word may have begun.
                None => Some(text.len().saturating_sub(word.len() - 1)).filter(|length| *length > 0)?,
            },
            (None, [b'<', b'!', b'-', b'-', ..]) => {
                self.until = Some(b"-->".to_vec());
                2
            }
            (None, [b'<', first, ..]) if first.is_ascii_alphabetic() => {
                let mut tag = Vec::new();
                let (length, raw) = read_tag(text, &self.prefix, &mut tag);
                let is_whole = last || length < text.len();
                match (is_whole, text.len() > limits::PROXY_TAG_BYTES) {
                    (true, _) => {
                        into.append(&mut tag);
                        self.until = raw;
                        return Some(length);
                    }
                    (false, true) => text.len(),
                    (false, false) => return None,
                }
            }
            (None, [b'<', ..]) if !last && b"<!--".starts_with(text) => return None,
            (None, [b'<', ..]) => 1,
            (None, _) => span(text, |byte| byte != b'<'),
        };
        into.extend_from_slice(&text[..plain]);
        Some(plain)
    }
}

/// Where a word is, in whatever case.
fn find(text: &[u8], word: &[u8]) -> Option<usize> {
    text.windows(word.len()).position(|window| window.eq_ignore_ascii_case(word))
}

fn span(text: &[u8], of: impl Fn(u8) -> bool) -> usize {
    text.iter().position(|byte| !of(*byte)).unwrap_or(text.len())
}

/// Writes a tag up to its closing bracket, or as far as it is there: how many bytes that were, and before which word there is no markup then.
fn read_tag(text: &[u8], prefix: &str, into: &mut Vec<u8>) -> (usize, Option<Vec<u8>>) {
    let name_ends = 1 + span(&text[1..], |byte| byte.is_ascii_alphanumeric());
    let name = text[1..name_ends].to_ascii_lowercase();
    let links = LINKS.iter().find(|(tag, _)| tag.as_bytes() == name).map_or(&[][..], |(_, links)| *links);
    into.extend_from_slice(&text[..name_ends]);
    let mut at = name_ends;
    while at < text.len() && text[at] != b'>' {
        at += attribute(&text[at..], links, prefix, into);
    }
    let is_raw = RAW.iter().any(|raw| raw.as_bytes() == name);
    (at, is_raw.then(|| [b"</", name.as_slice()].concat()))
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

    fn rewritten(page: &[u8]) -> Vec<u8> {
        Links::new(PREFIX).all(page)
    }

    #[track_caller]
    fn check(page: &str, expected: &str) {
        assert_eq!(String::from_utf8(rewritten(page.as_bytes())).unwrap(), expected);
    }

    #[test]
    fn a_page_without_end_goes_on_as_it_comes() {
        let mut links = Links::new(PREFIX);
        let mut check = |part: &str, expected: &str| {
            assert_eq!(String::from_utf8(links.more(part.as_bytes())).unwrap(), expected, "at {part}");
        };
        check("<p>one</p>", "<p>one</p>");
        check("<a hre", "");
        check("f='/two'", "");
        check(">two", "<a href='/pods/a/proxy/two'>two");
        check("<", "");
        check("!-- <a href='/x'>", "<!-- <a href='/x");
        check(" --><script>'<a href=/x>'</scr", "'> --><script>'<a href=/x");
        check("ipt>", ">'</script>");
        let long = format!("<img src=\"{}", "x".repeat(limits::PROXY_TAG_BYTES));
        check(&long, &long);
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
            proptest::prop_assert_eq!(rewritten(text.as_bytes()), text.as_bytes());
        }

        #[test]
        fn in_which_pieces_a_page_comes_makes_no_difference(
            pieces in proptest::collection::vec("(<a href='/|<!-- |-->|<script>|</script>|[<>a=\"'!/-]{0,6}){0,4}", 0..6)
        ) {
            let mut links = Links::new(PREFIX);
            let mut came: Vec<u8> = pieces.iter().flat_map(|piece| links.more(piece.as_bytes())).collect();
            came.extend(links.rest());
            proptest::prop_assert_eq!(came, rewritten(pieces.concat().as_bytes()));
        }
    }
}
