//! The page for people: one document, which asks this API itself and nobody else.
//!
//! It may run no script but its own: the policy names the hash of that script, so whatever gets into
//! the page by another way stays text.

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::http::Response;

/// The page.
pub fn page() -> Response {
    Response::of_type(200, "text/html; charset=utf-8", PAGE.clone().into_bytes())
        .with("Content-Security-Policy", policy())
        .with("X-Content-Type-Options", "nosniff")
        .with("Referrer-Policy", "no-referrer")
}

/// What a browser may do for this page: run its script, use its style, ask this very server.
fn policy() -> String {
    let (script, style) = (hash_of("script"), hash_of("style"));
    format!(
        "default-src 'none'; script-src 'sha256-{script}'; style-src 'sha256-{style}'; img-src data:; connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
    )
}

/// The hash of what stands in the page's one element of this name.
fn hash_of(element: &str) -> String {
    let inside = PAGE
        .split_once(&format!("<{element}>"))
        .and_then(|(_, rest)| rest.split_once(&format!("</{element}>")))
        .map_or("", |(inside, _)| inside);
    STANDARD.encode(digest(&SHA256, inside.as_bytes()))
}

/// The document, with its style and its script inside.
static PAGE: LazyLock<String> = LazyLock::new(|| {
    let inside = |element: &str, text: &str| format!("<{element}>\n{text}</{element}>");
    include_str!("page/page.html")
        .replace(
            "<style></style>",
            &inside("style", include_str!("page/page.css")),
        )
        .replace(
            "<script></script>",
            &inside("script", include_str!("page/page.js")),
        )
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_needs_nothing_from_elsewhere() {
        assert!(!PAGE.contains("http:") && !PAGE.contains("https:") && !PAGE.contains("src="));
        assert_eq!(PAGE.matches("<script").count(), 1);
        assert_eq!(PAGE.matches("<style").count(), 1);
    }

    #[test]
    fn the_policy_names_its_script_and_style() {
        let empty = STANDARD.encode(digest(&SHA256, b""));
        let policy = policy();
        assert_eq!(policy.matches("'sha256-").count(), 2, "{policy}");
        assert!(
            !policy.contains(&empty) && !policy.contains("-inline"),
            "{policy}"
        );
    }
}
