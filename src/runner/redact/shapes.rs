//! Keys that can be told by their shape: issuers begin them with a word of their own, so that whoever finds
//! one knows it. Those that have no such word are not here: they look like any other number, and would take
//! ordinary text with them.
//!
//! The list follows those that secret scanners keep (gitleaks, GitHub's push protection) and what the
//! issuers document. Each has an example in the tests.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

/// What follows the beginning of a word.
pub(super) const SHAPES: &[&str] = &[
    // clouds
    r"(?:A3T[A-Z0-9]|AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}\b",
    r"AIza[0-9A-Za-z_-]{35}",
    r"ya29\.[0-9A-Za-z_-]{20,}",
    r"GOCSPX-[0-9A-Za-z_-]{28}",
    r"do[opr]_v1_[a-f0-9]{64}\b",
    r"HRKU-AA[0-9A-Za-z_-]{58}",
    r"fo1_[0-9A-Za-z_-]{43}",
    r"tskey-(?:auth|api|client|scim|webhook)-[0-9A-Za-z]+-[0-9A-Za-z]{20,}",
    r"dapi[a-f0-9]{32}(?:-[0-9])?\b",
    r"v1\.0-[a-f0-9]{24}-[a-f0-9]{146}\b",
    r"pscale_(?:tkn|oauth|pw)_[0-9A-Za-z_=.-]{32,64}",
    r"sbp_[a-f0-9]{40}\b",
    // models
    r"sk-ant-[a-z]{3,5}[0-9]{2}-[0-9A-Za-z_-]{40,}",
    r"sk-(?:proj|svcacct|admin)-[0-9A-Za-z_-]{40,}",
    r"sk-or-v1-[a-f0-9]{64}\b",
    r"sk-[0-9A-Za-z]{48}\b",
    r"hf_[A-Za-z]{34}\b",
    r"r8_[0-9A-Za-z]{37}\b",
    r"gsk_[0-9A-Za-z]{52}\b",
    r"xai-[0-9A-Za-z]{80}\b",
    r"pplx-[0-9A-Za-z]{48}\b",
    // forges and registries
    r"gh[pousr]_[0-9A-Za-z]{36,255}\b",
    r"github_pat_[0-9A-Za-z_]{82}",
    r"gl(?:pat|ptt|rt|cbt|dt|oas|soat|ffct|imt|agent|ft)-[0-9A-Za-z_-]{20,300}(?:\.[0-9a-z]{2}\.[0-9a-z]{9})?",
    r"ATATT3[0-9A-Za-z_=-]{186}",
    r"ATCTT3[0-9A-Za-z_=-]{186}",
    r"npm_[0-9A-Za-z]{36}\b",
    r"pypi-AgEIcHlwaS5vcmc[0-9A-Za-z_-]{50,1000}",
    r"rubygems_[a-f0-9]{48}\b",
    r"dckr_(?:pat|oat)_[0-9A-Za-z_-]{27,32}",
    r"CLOJARS_[a-z0-9]{60}\b",
    r"sgp_(?:[a-fA-F0-9]{16}_|local_)?[a-fA-F0-9]{40}\b",
    r"bkua_[a-f0-9]{40}\b",
    // payment, mail, chat
    r"(?:sk|rk)_(?:test|live|prod)_[0-9A-Za-z]{10,99}\b",
    r"whsec_[0-9A-Za-z+/=]{24,}",
    r"shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}\b",
    r"sq0[a-z]{3}-[0-9A-Za-z_-]{22,43}",
    r"SG\.[0-9A-Za-z_-]{22}\.[0-9A-Za-z_-]{43}",
    r"xox[abeoprs]-[0-9A-Za-z-]{10,}",
    r"xapp-[0-9]-[A-Z0-9]+-[0-9]+-[a-z0-9]+",
    r"https://hooks\.slack\.com/(?:services|workflows|triggers)/[0-9A-Za-z+/]{43,56}",
    // operations
    r"hv[sbr]\.[0-9A-Za-z_-]{90,300}",
    r"glc_[0-9A-Za-z+/]{32,400}={0,3}",
    r"glsa_[0-9A-Za-z]{32}_[a-fA-F0-9]{8}\b",
    r"sntry[su]_[0-9A-Za-z+/=_-]{64,}",
    r"NRAK-[A-Z0-9]{27}\b",
    r"dt0c01\.[A-Z0-9]{24}\.[A-Z0-9]{64}\b",
    r"pul-[a-f0-9]{40}\b",
    r"dp\.(?:pt|st|sa|ct|scim|audit)\.[0-9A-Za-z]{40,44}\b",
    r"PMAK-[a-f0-9]{24}-[a-f0-9]{34}\b",
    r"pnu_[a-z0-9]{36}\b",
    r"rdme_[a-z0-9]{70}\b",
    r"lin_api_[0-9A-Za-z]{40}\b",
    r"ntn_[0-9]{11}[0-9A-Za-z]{35}\b",
    r"figd_[0-9A-Za-z_-]{40}",
    // anywhere
    r"eyJ[0-9A-Za-z_-]{14,}\.eyJ[0-9A-Za-z_-]{14,}\.[0-9A-Za-z_-]{10,}={0,2}",
    r"AGE-SECRET-KEY-1[QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L]{58}\b",
    r"ops_eyJ[0-9A-Za-z+/]{250,}={0,3}",
    // this service's own
    r"orc_[0-9A-Za-z]{38}\b",
];

#[expect(
    clippy::expect_used,
    reason = "the expressions are constants, and a test uses each"
)]
static ANY: LazyLock<Regex> = LazyLock::new(|| {
    // Boundaries of ASCII words: tables for all of Unicode would only make it slower.
    let all = SHAPES.join("|").replace(r"\b", r"(?-u:\b)");
    Regex::new(&format!(r"(?-u:\b)(?:{all})")).expect("constant expressions")
});

/// Where keys are.
pub(super) fn find(text: &str) -> impl Iterator<Item = Range<usize>> {
    ANY.find_iter(text).map(|found| found.range())
}

/// Whether a byte may stand within a key.
pub(super) fn is_inner(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_-.+/=:".contains(&byte)
}

/// Where the word begins that a text ends in; its length when it ends in none.
pub(super) fn last_word(text: &str) -> usize {
    let inner = text.bytes().rev().take_while(|byte| is_inner(*byte)).count();
    let word = &text[text.len() - inner..];
    // A row of dots is no beginning of a key, and whoever watches it grow wants to see it.
    let leading = word.bytes().take_while(|byte| b".=:/+_".contains(byte)).count();
    text.len() - inner + leading
}
