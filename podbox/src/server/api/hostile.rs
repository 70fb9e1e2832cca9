//! Whatever a request's head says: paths, queries and `Accept` are read or refused.

use super::media::{Shape, negotiate};
use super::path;
use super::query::{ListOptions, Query, WriteOptions};
use hyper::Method;
use proptest::prelude::*;

const PATHS: &str = "(/(api|apis|v1|v2|apps|namespaces|watch|pods|proxy|status|scale|log|[a-z]{0,3}|%2[fF]|%[0-9a-g]{0,2}|\\.\\.|\\PC)){0,9}/?";
const QUERIES: &str = "((watch|limit|continue|resourceVersion|resourceVersionMatch|labelSelector|fieldSelector|timeoutSeconds|\
                       sendInitialEvents|fieldManager|fieldValidation|dryRun|force|[a-z%+&=]{0,4})=(true|1|-1|All|Exact|\
                       NotOlderThan|99999999999999999999|a%3Db|a in \\(b|%[0-9a-f]{0,2}|\\PC){0,2}&){0,6}";

proptest! {
    #[test]
    fn paths_and_queries_are_read_or_refused(text in PATHS, query in QUERIES, agent in "\\PC{0,9}", apply in any::<bool>()) {
        for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            let info = path::info(&method, &text, apply, None);
            prop_assert!(!info.verb.is_empty());
        }
        let query = Query::parse(&query);
        let _ = ListOptions::read(&query, apply);
        for kind in ["CreateOptions", "UpdateOptions", "PatchOptions"] {
            if let Ok(options) = WriteOptions::read(&query, kind, &agent, apply) {
                prop_assert!(options.manager.chars().count() <= 128);
            }
        }
    }

    #[test]
    fn what_clients_accept_is_read_or_refused(accept in "(application/(json|yaml|[a-z+.]{0,5})|\\*/\\*|;|,|=|q=(0|1|nan|inf|-1)|as=Table|g=meta.k8s.io|v=v1| |\\PC){0,12}") {
        let _ = negotiate(&accept, &[Shape::Table, Shape::Partial, Shape::Aggregated]);
    }
}
