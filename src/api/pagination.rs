//! Keyset pages, one mechanism for all lists: filters, `limit` and `cursor` in; `items`, `next_cursor`
//! and a `Link` header out.

use std::fmt::Debug;

use axum::Json;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use url::form_urlencoded::Serializer;
use utoipa::ToSchema;

use super::problem::Problem;
use super::query::{only, read};
use super::{Api, Settings};
use crate::domain::page::{Cursor, DEFAULT_LIMIT, MAX_LIMIT, Page};

/// Which page of a list is asked for.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Pages {
    /// Most rows on the page.
    #[param(minimum = 1, maximum = 500, default = 50, example = 50)]
    limit: Option<u16>,
    /// Where the page begins: `next_cursor` of the page before, with the same filters.
    #[param(pattern = "^[A-Za-z0-9_-]{27}$")]
    cursor: Option<String>,
}

/// The filters of a list that has none.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Everything {}

/// A page that a caller asks for: of which rows, from where on, and how many.
///
/// A list's own filters are `F`. A cursor is good for the list and the filters it was made with, and
/// for nothing else.
pub(super) struct Asked<F = Everything> {
    pub(super) filter: F,
    pub(super) after: Option<Cursor>,
    pub(super) limit: u16,
    list: String,
    uri: Uri,
}

impl<F: DeserializeOwned + Debug> FromRequestParts<Api> for Asked<F> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Problem> {
        let query = parts.uri.query().unwrap_or_default();
        let is_page = |name: &str| matches!(name, "limit" | "cursor");
        let filter: F = read(query, |name| !is_page(name))?;
        let pages: Pages = read(query, is_page)?;
        let list = format!("{} {filter:?}", parts.uri.path());
        let limit = pages.limit.unwrap_or(DEFAULT_LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            let allowed = format!("is {limit}; allowed are 1 to {MAX_LIMIT}");
            return Err(Problem::parameter("limit", allowed));
        }
        let after = pages.cursor.map(|text| Cursor::decode(&text, &list));
        Ok(Self {
            filter,
            after: after
                .transpose()
                .map_err(|error| Problem::parameter("cursor", error.to_string()))?,
            limit,
            list,
            uri: parts.uri.clone(),
        })
    }
}

impl<F> Asked<F> {
    /// Answers with the page and says where the next one is.
    pub(super) fn answer<S, T>(&self, page: Page<S>, settings: &Settings) -> Response
    where
        T: From<S> + Serialize,
    {
        let next_cursor = page.next.map(|cursor| cursor.encode(&self.list));
        let link = next_cursor
            .as_deref()
            .map(|cursor| format!(r#"<{}>; rel="next""#, settings.link(&self.next(cursor))));
        let items: Vec<T> = page.items.into_iter().map(T::from).collect();
        let mut response = Json(Listing { items, next_cursor }).into_response();
        if let Some(link) = link.and_then(|link| HeaderValue::from_str(&link).ok()) {
            response.headers_mut().insert(header::LINK, link);
        }
        response
    }

    /// The same address with another cursor.
    fn next(&self, cursor: &str) -> String {
        let kept = only(self.uri.query().unwrap_or_default(), |name| name != "cursor");
        let query = Serializer::new(kept).append_pair("cursor", cursor).finish();
        format!("{}?{query}", self.uri.path())
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
