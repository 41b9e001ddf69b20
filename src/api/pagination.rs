//! Keyset pages: `limit` and `cursor` in, `items`, `next_cursor` and a `Link` header out.

use axum::Json;
use axum::http::{HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use url::form_urlencoded;
use utoipa::ToSchema;

use super::Settings;
use super::problem::Problem;
use crate::domain::page::{Cursor, DEFAULT_LIMIT, MAX_LIMIT, Page};

/// Which page of a list without filters is asked for.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Pages {
    /// Most rows on the page.
    #[param(minimum = 1, maximum = 500, default = 50)]
    pub(super) limit: Option<u16>,
    /// Where the page begins: `next_cursor` of the page before.
    #[param(pattern = "^[A-Za-z0-9_-]{27}$", example = "AZNPWn4cfDqbHl-NKmxOEKkLfJs")]
    pub(super) cursor: Option<String>,
}

/// Which page of a list is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) after: Option<Cursor>,
    pub(super) limit: u16,
}

impl Window {
    /// Reads the two parameters. `filter` names the list and its filters: a cursor of another list
    /// is refused.
    pub(super) fn read(limit: Option<u16>, cursor: Option<&str>, filter: &str) -> Result<Self, Problem> {
        let limit = limit.unwrap_or(DEFAULT_LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            return Err(Problem::parameter(
                "limit",
                format!("is {limit}; allowed are 1 to {MAX_LIMIT}"),
            ));
        }
        let after = cursor
            .map(|text| Cursor::decode(text, filter))
            .transpose()
            .map_err(|error| Problem::parameter("cursor", error.to_string()))?;
        Ok(Self { after, limit })
    }
}

/// One page of a list.
#[derive(Serialize, ToSchema)]
pub(super) struct Listing<T> {
    /// The rows of this page.
    items: Vec<T>,
    /// Where the next page begins; absent on the last page. The `Link` header has the whole address.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "AZNPWn4cfDqbHl-NKmxOEKkLfJs")]
    next_cursor: Option<String>,
}

impl<T> Listing<T> {
    /// A list that is always whole.
    pub(super) fn whole(items: Vec<T>) -> Self {
        Self {
            items,
            next_cursor: None,
        }
    }
}

/// Answers with a page and says where the next one is.
pub(super) fn answer<S, T>(page: Page<S>, filter: &str, uri: &Uri, settings: &Settings) -> Response
where
    T: From<S> + Serialize,
{
    let next_cursor = page.next.map(|cursor| cursor.encode(filter));
    let link = next_cursor
        .as_deref()
        .map(|cursor| format!(r#"<{}>; rel="next""#, settings.link(&next(uri, cursor))));
    let items: Vec<T> = page.items.into_iter().map(T::from).collect();
    let mut response = Json(Listing { items, next_cursor }).into_response();
    if let Some(link) = link.and_then(|link| HeaderValue::from_str(&link).ok()) {
        response.headers_mut().insert(header::LINK, link);
    }
    response
}

/// The same address with another cursor.
fn next(uri: &Uri, cursor: &str) -> String {
    let kept = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes())
        .filter(|(name, _)| name != "cursor");
    let query = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(kept)
        .append_pair("cursor", cursor)
        .finish();
    format!("{}?{query}", uri.path())
}
