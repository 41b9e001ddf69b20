//! The vectors that the services publish, and what must not pass for one.

use proptest::prelude::*;

use super::*;

fn check(
    provider: Provider,
    secret: &str,
    headers: &[(&str, &str)],
    body: &[u8],
    now: i64,
) -> Result<(), Refused> {
    let scheme = Scheme {
        provider,
        tolerance_sec: TOLERANCE_SEC,
        generic: &Generic::default(),
    };
    let headers = headers.iter().copied().collect();
    verify(scheme, &[SecretString::from(secret)], &headers, body, now)
}

/// <https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries>
const GITHUB: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
const GITHUB_SECRET: &str = "It's a Secret to Everybody";

fn github(signature: &str, body: &[u8]) -> Result<(), Refused> {
    let headers = [("X-Hub-Signature-256", signature)];
    check(Provider::Github, GITHUB_SECRET, &headers, body, 0)
}

#[test]
fn vector_of_github_passes_and_what_differs_does_not() {
    assert_eq!(github(GITHUB, b"Hello, World!"), Ok(()));
    let upper = GITHUB.replace("757107ea", "757107EA");
    assert_eq!(github(&upper, b"Hello, World!"), Ok(()));
    assert_eq!(github(GITHUB, b"Hello, World"), Err(Refused::Mismatch));
    assert_eq!(
        github(&GITHUB[..GITHUB.len() - 2], b"Hello, World!"),
        Err(Refused::Mismatch)
    );
    let malformed = Err(Refused::Malformed("X-Hub-Signature-256"));
    for bad in [
        "",
        "sha256=",
        "757107ea",
        "sha1=757107ea",
        "SHA256=757107ea",
        "sha256=xyz",
        "sha256=7",
    ] {
        let expected = if bad == "sha256=" {
            Err(Refused::Mismatch)
        } else {
            malformed.clone()
        };
        assert_eq!(github(bad, b"Hello, World!"), expected, "{bad}");
    }
}

#[test]
fn header_that_is_missing_or_repeated_is_refused() {
    let missing = check(Provider::Github, GITHUB_SECRET, &[], b"", 0);
    assert!(matches!(missing, Err(Refused::Missing(_))));
    let twice = [("X-Hub-Signature-256", GITHUB), ("x-hub-signature-256", GITHUB)];
    let repeated = check(Provider::Github, GITHUB_SECRET, &twice, b"Hello, World!", 0);
    assert!(matches!(repeated, Err(Refused::Repeated(_))));
}

/// From the reference libraries of Standard Webhooks and Svix.
const STANDARD_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const STANDARD: [(&str, &str); 3] = [
    ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
    ("webhook-timestamp", "1614265330"),
    (
        "webhook-signature",
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    ),
];
const STANDARD_BODY: &[u8] = br#"{"test": 2432232314}"#;
const SIGNED: i64 = 1_614_265_330;

#[test]
fn vector_of_standard_webhooks_passes_under_either_name_and_we_sign_the_same() {
    for provider in [Provider::Standard, Provider::Gitlab] {
        let standard = check(provider, STANDARD_SECRET, &STANDARD, STANDARD_BODY, SIGNED);
        assert_eq!(standard, Ok(()));
    }
    let svix = STANDARD.map(|(name, value)| (name.replace("webhook", "svix"), value));
    let svix: Vec<_> = svix.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    assert_eq!(
        check(Provider::Standard, STANDARD_SECRET, &svix, STANDARD_BODY, SIGNED),
        Ok(())
    );
    let secrets = [SecretString::from(STANDARD_SECRET)];
    assert_eq!(
        standard::sign(&secrets, STANDARD[0].1, SIGNED, STANDARD_BODY),
        STANDARD[2].1
    );
}

#[test]
fn standard_signature_is_bound_to_id_time_body_and_secret_and_is_worth_nothing_later() {
    let with = |index: usize, value: &'static str| {
        let mut headers = STANDARD;
        headers[index].1 = value;
        check(
            Provider::Standard,
            STANDARD_SECRET,
            &headers,
            STANDARD_BODY,
            SIGNED,
        )
    };
    assert_eq!(with(0, "msg_other"), Err(Refused::Mismatch));
    assert_eq!(with(1, "1614265331"), Err(Refused::Mismatch));
    assert_eq!(with(1, "+1614265330"), Err(Refused::Mismatch));
    assert!(matches!(with(1, "soon"), Err(Refused::Malformed(_))));
    assert!(matches!(with(2, "v1a,AAAA v2,AAAA"), Err(Refused::Malformed(_))));
    assert_eq!(
        with(2, "v1,AAAA v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
        Ok(())
    );
    for (now, fresh) in [(300, true), (301, false), (-300, true), (-301, false)] {
        let checked = check(
            Provider::Standard,
            STANDARD_SECRET,
            &STANDARD,
            STANDARD_BODY,
            SIGNED + now,
        );
        assert_eq!(checked.is_ok(), fresh, "{now}");
        assert_eq!(matches!(checked, Err(Refused::Stale { .. })), !fresh);
    }
    let other = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    assert_eq!(
        check(Provider::Standard, other, &STANDARD, STANDARD_BODY, SIGNED),
        Err(Refused::Mismatch)
    );
}

#[test]
fn while_a_secret_is_replaced_both_sign_and_either_verifies() {
    let (old, new) = (standard::generate(), standard::generate());
    let both = standard::sign(&[new.clone(), old.clone()], "id", 100, b"body");
    let headers: Headers = [
        ("webhook-id", "id"),
        ("webhook-timestamp", "100"),
        ("webhook-signature", &both),
    ]
    .into_iter()
    .collect();
    for secret in [old, new] {
        assert!(standard::is_whole_secret(secret.expose_secret()));
        assert_eq!(standard::verify(&[secret], &headers, b"body", 100, 300), Ok(()));
    }
}

/// From the tests of Stripe's libraries: the secret is `webhook_secret`, the time 1533204620.
const STRIPE_BODY: &str = r#"{
  "id": "evt_123",
  "object": "event",
  "account": "acct_123",
  "api_version": "2017-05-25",
  "created": 1533204620,
  "data": {
    "object": {
      "id": "ii_123",
      "object": "invoiceitem",
      "amount": 1000,
      "currency": "usd",
      "customer": "cus_123",
      "date": 1533204620,
      "description": "Test Invoice Item",
      "discountable": false,
      "invoice": "in_123",
      "livemode": false,
      "metadata": {},
      "period": {
        "start": 1533204620,
        "end": 1533204620
      },
      "proration": false,
      "quantity": 3
    }
  },
  "livemode": false,
  "pending_webhooks": 1,
  "request": {
    "id": "req_123",
    "idempotency_key": "idempotency-key-123"
  },
  "type": "invoiceitem.created"
}
"#;
const STRIPE_V1: &str = "82216eca827bcb7b34b8055eb2d2d9e6bc13b9ac39ded14a61e69f70c565f53a";
const STRIPE_V0: &str = "63f3a72374a733066c4be69ed7f8e5ac85c22c9f0a6a612ab9a025a9e4ee7eef";

fn stripe(header: &str, body: &str, now: i64) -> Result<(), Refused> {
    let headers = [("Stripe-Signature", header)];
    check(Provider::Stripe, "webhook_secret", &headers, body.as_bytes(), now)
}

#[test]
fn vector_of_stripe_passes_and_old_weak_or_garbled_ones_do_not() {
    let now = 1_533_204_620;
    let header = format!("t={now},v1={STRIPE_V1},v0={STRIPE_V0}");
    assert_eq!(stripe(&header, STRIPE_BODY, now + 100), Ok(()));
    assert!(matches!(
        stripe(&header, STRIPE_BODY, now + 301),
        Err(Refused::Stale { .. })
    ));
    // The same JSON, written anew, is another body.
    assert_eq!(
        stripe(&header, STRIPE_BODY.trim_end(), now),
        Err(Refused::Mismatch)
    );
    let rolled = format!("t={now},v1={STRIPE_V0},v1={STRIPE_V1}");
    assert_eq!(stripe(&rolled, STRIPE_BODY, now), Ok(()));
    for bad in [
        String::new(),
        format!("t={now}"),
        format!("v1={STRIPE_V1}"),
        format!("t={now},v0={STRIPE_V1}"),
        format!("t={now},t={now},v1={STRIPE_V1}"),
        format!("t=now,v1={STRIPE_V1}"),
        format!("t={now},v1=xyz"),
        format!("t={now};v1={STRIPE_V1}"),
    ] {
        assert_eq!(
            stripe(&bad, STRIPE_BODY, now),
            Err(Refused::Malformed("Stripe-Signature")),
            "{bad}"
        );
    }
}

#[test]
fn token_of_gitlab_and_bearer_secret_are_compared_whole() {
    for (provider, name, before) in [
        (Provider::Gitlab, "X-Gitlab-Token", ""),
        (Provider::Bearer, "Authorization", "Bearer "),
        (Provider::Bearer, "Authorization", "bearer "),
    ] {
        let with = |value: &str| check(provider, "s3cret-token", &[(name, value)], b"any", 0);
        assert_eq!(with(&format!("{before}s3cret-token")), Ok(()));
        for wrong in ["", "s3cret-toke", "s3cret-tokenn", "S3CRET-TOKEN"] {
            assert_eq!(
                with(&format!("{before}{wrong}")),
                Err(Refused::Mismatch),
                "{wrong}"
            );
        }
    }
    let basic = check(Provider::Bearer, "s", &[("Authorization", "Basic s")], b"", 0);
    assert_eq!(basic, Err(Refused::Malformed("Authorization")));
}

#[test]
fn hmac_of_ones_own_is_read_as_the_hook_says() {
    let generic = Generic {
        header: "X-Sign".into(),
        prefix: "v=".into(),
        encoding: Encoding::Base64,
        algorithm: Algorithm::Sha512,
        timestamp_header: Some("X-Time".into()),
    };
    let scheme = Scheme {
        provider: Provider::Hmac,
        tolerance_sec: 10,
        generic: &generic,
    };
    let secret = SecretString::from("key");
    let tag = mac(hmac::HMAC_SHA512, b"key", &[b"100.body"]);
    let signature = format!(
        "v={}",
        base64::Engine::encode(&base64::engine::general_purpose::STANDARD, tag)
    );
    let checked = |time: &str, body: &[u8], now| {
        let headers = [("x-sign", signature.as_str()), ("x-time", time)]
            .into_iter()
            .collect();
        verify(scheme, std::slice::from_ref(&secret), &headers, body, now)
    };
    assert_eq!(checked("100", b"body", 105), Ok(()));
    assert_eq!(checked("100", b"body!", 105), Err(Refused::Mismatch));
    assert_eq!(checked("101", b"body", 105), Err(Refused::Mismatch));
    assert!(matches!(checked("100", b"body", 111), Err(Refused::Stale { .. })));
}

proptest! {
    #[test]
    fn nothing_a_sender_writes_panics_or_passes_without_the_secret(
        values in prop::collection::vec("(sha256=|v1,|t=|v1=|Bearer )?[ -~é]{0,80}", 5),
        body in prop::collection::vec(any::<u8>(), 0..200),
        now in any::<i64>(),
    ) {
        let names = ["X-Hub-Signature-256", "X-Gitlab-Token", "Stripe-Signature", "Authorization", "X-Signature"];
        let mut headers: Vec<_> = names.iter().zip(&values).map(|(name, value)| (*name, value.as_str())).collect();
        headers.extend([("webhook-id", values[0].as_str()), ("webhook-timestamp", &values[1]), ("webhook-signature", &values[2])]);
        for provider in [Provider::Github, Provider::Gitlab, Provider::Stripe, Provider::Standard, Provider::Hmac, Provider::Bearer] {
            prop_assert!(check(provider, "a secret nobody guesses: 81b04d", &headers, &body, now).is_err());
        }
    }

    #[test]
    fn any_change_of_one_bit_of_a_signed_body_is_noticed(body in prop::collection::vec(any::<u8>(), 1..300), at in any::<prop::sample::Index>(), bit in 0..8) {
        let secret = standard::generate();
        let signature = standard::sign(std::slice::from_ref(&secret), "id", 5, &body);
        let headers: Headers = [("webhook-id", "id"), ("webhook-timestamp", "5"), ("webhook-signature", &signature)].into_iter().collect();
        prop_assert_eq!(standard::verify(std::slice::from_ref(&secret), &headers, &body, 5, 300), Ok(()));
        let mut changed = body.clone();
        changed[at.index(body.len())] ^= 1u8 << bit;
        prop_assert_eq!(standard::verify(&[secret], &headers, &changed, 5, 300), Err(Refused::Mismatch));
    }
}
