//! OpenAPI over a connection: made once, compressed for who takes it, kept by clients while it is the same.

use super::*;
use std::io::Read;

async fn get(client: &mut Client, path: &str, headers: Value) -> (u16, hyper::HeaderMap, Bytes) {
    let mut request = Request::builder().uri(path).header("Host", "podbox");
    for (name, value) in headers.as_object().unwrap() {
        request = request.header(name, value.as_str().unwrap());
    }
    client.sender.ready().await.unwrap();
    let response = client.sender.send_request(request.body(Full::default()).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    (parts.status.as_u16(), parts.headers, body.collect().await.unwrap().to_bytes())
}

fn inflate(bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    flate2::read::GzDecoder::new(bytes).read_to_end(&mut text).unwrap();
    text
}

#[tokio::test]
async fn a_document_comes_compressed_or_not_and_only_when_it_is_new() {
    let mut client = Client::new().await;
    for path in ["/openapi/v2", "/openapi/v3", "/openapi/v3/api/v1", "/openapi/v3/apis/apps/v1"] {
        let (code, headers, plain) = get(&mut client, path, json!({})).await;
        assert_eq!((code, headers.get("content-encoding")), (200, None), "{path}");
        assert!(serde_json::from_slice::<Value>(&plain).unwrap().is_object());
        let (_, headers, packed) = get(&mut client, path, json!({"Accept-Encoding": "br, gzip;q=0.9"})).await;
        assert_eq!(headers["content-encoding"], "gzip");
        assert_eq!(inflate(&packed), plain);
        let tag = headers["etag"].to_str().unwrap();
        let (code, again, body) = get(&mut client, path, json!({"If-None-Match": tag})).await;
        assert_eq!((code, again["etag"].to_str().unwrap(), body.len()), (304, tag, 0));
        let (code, ..) = get(&mut client, path, json!({"If-None-Match": "\"other\""})).await;
        assert_eq!(code, 200);
        let (_, headers, _) = get(&mut client, path, json!({"Accept-Encoding": "gzip;q=0"})).await;
        assert!(!headers.contains_key("content-encoding"));
    }
}

#[tokio::test]
async fn the_index_names_urls_that_may_be_kept_and_others_are_sent_on() {
    let mut client = Client::new().await;
    let (_, _, index) = get(&mut client, "/openapi/v3", json!({})).await;
    let index: Value = serde_json::from_slice(&index).unwrap();
    let mut seen = 0;
    for entry in index["paths"].as_object().unwrap().values() {
        let url = entry["serverRelativeURL"].as_str().unwrap();
        let (code, headers, _) = get(&mut client, url, json!({"Accept-Encoding": "gzip"})).await;
        assert_eq!((code, headers["cache-control"].to_str().unwrap()), (200, "public, immutable"));
        assert!(headers["expires"].to_str().unwrap().ends_with(" GMT"));
        let old = url.split_once('=').unwrap().0.to_owned() + "=OLD";
        let (code, headers, _) = get(&mut client, &old, json!({})).await;
        assert_eq!((code, headers["location"].to_str().unwrap()), (301, url));
        seen += 1;
    }
    assert!(seen > 10);
    let (code, headers, _) = get(&mut client, "/openapi/v3/apis/apps/v1", json!({})).await;
    let kept = headers.get("cache-control").map(|value| value.to_str().unwrap());
    assert_eq!((code, kept), (200, Some("no-cache, private")));
    for path in ["/openapi/v3/apis/apps/v9", "/openapi/v4", "/openapi/v3/apis/apps/v1/more", "/openapi"] {
        assert_eq!(get(&mut client, path, json!({})).await.0, 404, "{path}");
    }
}
