"""Access tokens against everything that a forger, a careless issuer or a wrong clock can make of one."""

import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from hardpoint.auth import AccessTokens, Key, KeySet, parse_user_id
from hardpoint.auth.refresh import SessionSecrets, new_session_id, new_session_secret
from hardpoint.errors import InvalidToken

NOW = 1_800_000_000
ISSUER = "https://issuer.example"
AUDIENCE = "https://service.example"
SECRET = b"a secret of thirty-two bytes or more"
MAX_ID = 2**63 - 1

HEADER = {"alg": "HS256", "typ": "at+jwt", "kid": "k1"}
CLAIMS = {
    "iss": ISSUER,
    "aud": AUDIENCE,
    "sub": "7",
    "exp": NOW + 900,
    "iat": NOW,
    "jti": "token",
    "sid": "session",
}
ED25519 = ed25519.Ed25519PrivateKey.generate()
RSA = rsa.generate_private_key(public_exponent=65_537, key_size=2048)


def pem(key: Any) -> bytes:
    raw: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return raw


def public_pem(key: Any) -> bytes:
    raw: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return raw


def access_tokens(*keys: Key, now: float = NOW, **options: Any) -> AccessTokens:
    active, *retired = keys or (Key.from_secret(SECRET, kid="k1"),)
    options = {"issuer": ISSUER, "audience": AUDIENCE, "clock": lambda: now, **options}
    return AccessTokens(KeySet(active, retired), **options)


def part(value: Any) -> str:
    """A part of a token: bytes as they are, text as JSON text, anything else as JSON."""
    raw = (
        value if isinstance(value, bytes) else value.encode() if isinstance(value, str) else json.dumps(value).encode()
    )
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def decoded(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def signed(header: Any = HEADER, claims: Any = CLAIMS, *, secret: bytes = SECRET) -> str:
    """A token made without the code under test, signed with HMAC-SHA256 whatever its header says."""
    text = f"{part(header)}.{part(claims)}"
    return f"{text}.{part(hmac.digest(secret, text.encode(), sha256))}"


def refuse(token: str, tokens: AccessTokens | None = None) -> None:
    with pytest.raises(InvalidToken) as refused:
        (tokens or access_tokens()).verify(token)
    # Always the same words: they never say what was wrong.
    assert refused.value.detail == InvalidToken.default_detail
    assert refused.value.headers == {"WWW-Authenticate": 'Bearer realm="api", error="invalid_token"'}


def without(values: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key != name}


# What holds


def test_a_token_made_by_the_rules_is_accepted() -> None:
    """What every refusal below differs from in one thing."""
    claims = access_tokens().verify(signed())
    assert (claims.user_id, claims.session_id, claims.token_id) == (7, "session", "token")
    assert claims.expires_at == NOW + 900


@given(
    st.integers(1, MAX_ID),
    st.text(min_size=1, max_size=64, alphabet=st.characters(min_codepoint=33, max_codepoint=126)),
)
def test_what_is_issued_is_verified(user_id: int, session_id: str) -> None:
    tokens = access_tokens()
    claims = tokens.verify(tokens.issue(user_id=user_id, session_id=session_id))
    assert (claims.user_id, claims.session_id, claims.expires_at) == (user_id, session_id, NOW + 900)


@pytest.mark.parametrize("key", [Key.from_secret(SECRET), Key.from_pem(pem(ED25519)), Key.from_pem(pem(RSA))])
def test_every_algorithm_signs_and_verifies(key: Key) -> None:
    tokens = access_tokens(key)
    token = tokens.issue(user_id=7, session_id="session")
    assert tokens.verify(token).user_id == 7
    header, claims, signature = token.split(".")
    other = part({**CLAIMS, "sub": "1"})
    refuse(f"{header}.{other}.{signature}", tokens)
    refuse(f"{part({**HEADER, 'alg': key.algorithm, 'kid': key.kid})}.{claims}.{signature}", tokens)


def test_a_token_says_who_and_which_session_and_nothing_about_rights() -> None:
    token = access_tokens().issue(user_id=7, session_id="session")
    header, claims = (json.loads(decoded(text)) for text in token.split(".")[:2])
    assert header == HEADER
    assert without(claims, "jti") == without(CLAIMS, "jti")


def test_every_token_has_an_id_of_its_own() -> None:
    tokens = access_tokens()
    ids = {tokens.verify(tokens.issue(user_id=7, session_id="session")).token_id for _ in range(50)}
    assert len(ids) == 50


def test_a_changed_last_character_makes_no_other_token() -> None:
    """Some bits of it carry nothing; what is revoked by session and id stays revoked however it is written."""
    token = signed()
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    refused = 0
    for last in alphabet:
        try:
            claims = access_tokens().verify(token[:-1] + last)
        except InvalidToken:
            refused += 1
        else:
            assert (claims.session_id, claims.token_id) == ("session", "token")
    assert refused >= 60


# Times


@pytest.mark.parametrize("leeway", [0, 5, 60])
def test_a_token_ends_a_leeway_after_its_expiry(leeway: int) -> None:
    def at(moment: float) -> AccessTokens:
        return access_tokens(now=moment, leeway_seconds=leeway)

    end = NOW + 900 + leeway
    assert at(end - 0.5).verify(signed()).user_id == 7
    refuse(signed(), at(end))
    refuse(signed(), at(end + 1))


def test_the_default_leeway_is_five_seconds() -> None:
    assert access_tokens(now=NOW + 903).verify(signed()).user_id == 7
    refuse(signed(), access_tokens(now=NOW + 906))


@pytest.mark.parametrize("leeway", [0, 5, 60])
def test_a_token_begins_a_leeway_before_its_iat_and_nbf(leeway: int) -> None:
    for name in ("iat", "nbf"):
        token = signed(claims={**CLAIMS, "exp": NOW + 900, name: NOW + 10})
        assert access_tokens(now=NOW + 10 - leeway, leeway_seconds=leeway).verify(token).user_id == 7
        refuse(token, access_tokens(now=NOW + 10 - leeway - 1, leeway_seconds=leeway))


def test_a_token_may_not_live_longer_than_what_is_issued() -> None:
    assert access_tokens(ttl_seconds=900).verify(signed()).user_id == 7
    refuse(signed(), access_tokens(ttl_seconds=899))
    refuse(signed(claims={**CLAIMS, "exp": NOW + 901}))
    refuse(signed(claims={**CLAIMS, "iat": NOW - 1}))


@pytest.mark.parametrize(
    "options", [{"leeway_seconds": -1}, {"leeway_seconds": 61}, {"ttl_seconds": 0}, {"ttl_seconds": 10**10}]
)
def test_options_out_of_range_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="leeway_seconds"):
        access_tokens(**options)


def test_a_life_that_was_reckoned_is_a_whole_one() -> None:
    seconds: Any = timedelta(minutes=15).total_seconds()
    tokens = access_tokens(ttl_seconds=seconds)
    assert tokens.verify(tokens.issue(user_id=1, session_id="s")).expires_at == NOW + 900


# Claims


@pytest.mark.parametrize("name", CLAIMS)
def test_every_claim_is_required(name: str) -> None:
    refuse(signed(claims=without(CLAIMS, name)))


@pytest.mark.parametrize("name", ["exp", "iat", "nbf"])
@pytest.mark.parametrize(
    "value",
    [
        f'"{NOW}"',
        f"{NOW}.0",
        f"{NOW}.5",
        "1.8e9",
        "true",
        "false",
        "null",
        "[]",
        "{}",
        f"[{NOW}]",
        "NaN",
        "Infinity",
        "-Infinity",
        "1e999",
        "1" + "0" * 30,
        "9" * 5_000,
        '"never"',
    ],
)
def test_a_time_that_is_no_whole_number_of_seconds_is_refused(name: str, value: str) -> None:
    text = json.dumps(without(CLAIMS, name))
    refuse(signed(claims=f'{text[:-1]}, "{name}": {value}}}'))


@pytest.mark.parametrize("expires", [0, -1, -(10**30), NOW - 900, NOW + 10**30])
def test_an_expiry_in_the_past_or_beyond_reason_is_refused(expires: int) -> None:
    refuse(signed(claims={**CLAIMS, "exp": expires}))


@pytest.mark.parametrize("name", ["iss", "aud"])
@pytest.mark.parametrize("other", ["", "https://evil.example", None, 7, True, {}, [], ["https://evil.example"]])
def test_another_issuer_or_audience_is_refused(name: str, other: object) -> None:
    refuse(signed(claims={**CLAIMS, name: other}))


@pytest.mark.parametrize("name", ["iss", "aud"])
def test_an_issuer_or_audience_is_compared_whole_and_is_no_list(name: str) -> None:
    ours = CLAIMS[name]
    for other in (f"{ours}/", f"{ours}.evil.example", str(ours).upper(), f" {ours}", [ours], [ours, "x"], {ours: 1}):
        refuse(signed(claims={**CLAIMS, name: other}))


@pytest.mark.parametrize(
    "subject",
    [
        7,
        7.0,
        True,
        None,
        [],
        ["7"],
        {"7": 7},
        "",
        "0",
        "-7",
        "+7",
        "07",
        " 7",
        "7 ",
        "7\n",
        "7\x00",
        "7.0",
        "7e0",
        "0x7",
        "1_0",
        "\uff17",
        "\u0667",
        "seven",
        "7; DROP TABLE users",
        str(2**63),
        "9" * 19,
        "9" * 20,
        "9" * 5_000,
        "\ud800",
    ],
)
def test_a_subject_that_is_no_id_is_refused(subject: object) -> None:
    refuse(signed(claims={**CLAIMS, "sub": subject}))


def test_the_largest_id_is_one() -> None:
    assert access_tokens().verify(signed(claims={**CLAIMS, "sub": str(MAX_ID)})).user_id == MAX_ID


@pytest.mark.parametrize("name", ["sid", "jti"])
@pytest.mark.parametrize("value", [None, 1, True, 1.5, [], ["session"], {}])
def test_a_session_or_token_id_that_is_no_text_is_refused(name: str, value: object) -> None:
    refuse(signed(claims={**CLAIMS, name: value}))


@pytest.mark.parametrize("claims", ["", "null", "7", '"text"', "[]", "{", "{}", "\ufeff{}", b"\xff\xfe", b"\x00"])
def test_claims_that_are_no_json_object_are_refused(claims: Any) -> None:
    refuse(signed(claims=claims))


@pytest.mark.parametrize(
    "member", [f'"sub": "1", {json.dumps(CLAIMS)[1:-1]}', f'{json.dumps(CLAIMS)[1:-1]}, "sub": "1"']
)
def test_a_claim_that_is_there_twice_is_refused(member: str) -> None:
    """Two readers of it could read two users (RFC 7519, section 4)."""
    refuse(signed(claims=f"{{{member}}}"))


def test_deep_json_is_refused() -> None:
    for text in ("[" * 5_000, '{"a":' * 1_000, "[" * 2_500 + "]" * 2_500):
        refuse(signed(claims=text))
        refuse(f"{part(text)}.{part(CLAIMS)}.{part('x')}")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from([*CLAIMS, "nbf"]), json_values)
def test_whatever_a_signed_claim_holds_it_is_accepted_whole_or_refused(name: str, value: Any) -> None:
    try:
        claims = access_tokens().verify(signed(claims={**CLAIMS, name: value}))
    except InvalidToken:
        return
    assert type(claims.user_id) is int
    assert type(claims.session_id) is type(claims.token_id) is str
    assert NOW - 5 < claims.expires_at <= NOW + 900


# The header


@pytest.mark.parametrize(
    "algorithm",
    [
        *["none", "None", "nOnE", "NONE", "none ", "", "hs256", "HS384", "HS512", "RS256", "PS256", "ES256", "EdDSA"],
        *[None, 1, True, [], ["HS256"], {"HS256": 1}],
    ],
)
def test_the_header_chooses_no_algorithm(algorithm: object) -> None:
    token = signed({**HEADER, "alg": algorithm})
    head, claims, _ = token.split(".")
    refuse(token)
    refuse(f"{head}.{claims}.")
    refuse(f"{head}.{claims}.x")


def test_a_header_without_an_algorithm_is_refused() -> None:
    refuse(signed(without(HEADER, "alg")))


@pytest.mark.parametrize(
    "kind",
    [
        *[
            "JWT",
            "jwt",
            "at",
            "AT+JWT",
            "at+jwt ",
            "application/jwt",
            "refresh+jwt",
            "reset+jwt",
            "ws+jwt",
            "logout+jwt",
        ],
        *["", None, 1, True, ["at+jwt"]],
    ],
)
def test_another_type_of_token_is_refused(kind: object) -> None:
    refuse(signed({**HEADER, "typ": kind}))


def test_a_token_without_a_type_is_refused() -> None:
    refuse(signed(without(HEADER, "typ")))


@pytest.mark.parametrize(
    "kid",
    [
        "",
        "K1",
        "k1 ",
        "k1\x00",
        "k2",
        "../../../../dev/null",
        "file:///dev/null",
        "https://evil.example/jwks.json",
        "k1' OR '1'='1",
        "k1'; DROP TABLE keys; --",
        "$(id)",
        "k" * 5_000,
        "\ud800",
        None,
        0,
        1,
        True,
        ["k1"],
        {"k1": "k1"},
    ],
)
def test_a_key_id_is_looked_up_and_nothing_else(kid: object) -> None:
    refuse(signed({**HEADER, "kid": kid}))
    # The key that such an id would name if it were a file, a query or empty.
    refuse(signed({**HEADER, "kid": kid}, secret=b""))


def test_a_token_without_a_key_id_is_refused() -> None:
    refuse(signed(without(HEADER, "kid")))


@pytest.mark.parametrize("critical", [["exp"], ["b64"], ["unknown"], ["alg"], [], "exp", [1], {}])
def test_a_critical_extension_is_refused(critical: object) -> None:
    """None is understood here (RFC 7515, section 4.1.11)."""
    refuse(signed({**HEADER, "crit": critical, "exp": NOW + 900, "unknown": 1}))


def test_an_unencoded_payload_is_refused() -> None:
    refuse(signed({**HEADER, "b64": False}))
    refuse(signed({**HEADER, "b64": False, "crit": ["b64"]}))


def attackers_jwk() -> dict[str, str]:
    return {"kty": "oct", "k": part(b"the attacker's own key, long enough"), "kid": "k1", "alg": "HS256"}


EMBEDDED: list[dict[str, Any]] = [
    {"jwk": attackers_jwk()},
    {"jku": "http://127.0.0.1:9/jwks.json"},
    {"x5u": "http://127.0.0.1:9/chain.pem"},
    {"x5c": ["MIIB"]},
    {"x5t": "AAAA"},
    {"key": "the attacker's own key, long enough"},
]


@pytest.mark.parametrize("embedded", EMBEDDED, ids=lambda embedded: next(iter(embedded)))
def test_a_key_that_a_token_brings_is_never_used(embedded: dict[str, Any]) -> None:
    refuse(signed({**HEADER, **embedded}, secret=b"the attacker's own key, long enough"))
    # Nor does it do harm to a token that our own key has signed.
    assert access_tokens().verify(signed({**HEADER, **embedded})).user_id == 7


@pytest.mark.parametrize("header", ["", "null", "[]", '"HS256"', "{", "{}", b"\xff", json.dumps([HEADER])])
def test_a_header_that_is_no_json_object_is_refused(header: Any) -> None:
    refuse(signed(header))


def test_a_header_member_that_is_there_twice_is_refused() -> None:
    refuse(signed(f'{{"alg": "none", {json.dumps(HEADER)[1:]}'))


# Keys


def raw_public(pair: Any) -> list[bytes]:
    public = pair.public_key()
    key = Key.from_pem(pem(pair), kid="public")
    jwk = key.jwk()
    forms = [
        public_pem(pair),
        public_pem(pair).strip(),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        json.dumps(jwk).encode(),
        json.dumps(jwk, separators=(",", ":"), sort_keys=True).encode(),
        public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH),
    ]
    if isinstance(pair, ed25519.Ed25519PrivateKey):
        forms.append(public.public_bytes(Encoding.Raw, PublicFormat.Raw))
    return forms


@pytest.mark.parametrize("pair", [ED25519, RSA])
def test_a_public_key_is_no_secret(pair: Any) -> None:
    tokens = access_tokens(Key.from_pem(pem(pair), kid="public"), Key.from_secret(SECRET, kid="k1"))
    assert tokens.verify(signed()).user_id == 7
    for secret in raw_public(pair):
        for kid in ("public", "k1"):
            refuse(signed({**HEADER, "kid": kid}, secret=secret), tokens)
            refuse(signed({**HEADER, "kid": kid, "alg": "EdDSA"}, secret=secret), tokens)
            refuse(signed({**HEADER, "kid": kid, "alg": "RS256"}, secret=secret), tokens)


def test_one_keys_signature_does_not_hold_under_anothers_id() -> None:
    first, second = Key.from_secret(SECRET, kid="k1"), Key.from_secret(SECRET[::-1], kid="k2")
    tokens = access_tokens(first, second)
    assert tokens.verify(signed({**HEADER, "kid": "k2"}, secret=SECRET[::-1])).user_id == 7
    refuse(signed({**HEADER, "kid": "k2"}), tokens)
    refuse(signed(secret=SECRET[::-1]), tokens)


def test_an_asymmetric_key_of_somebody_else_is_refused() -> None:
    for pair, other in (
        (ED25519, ed25519.Ed25519PrivateKey.generate()),
        (RSA, rsa.generate_private_key(public_exponent=65_537, key_size=2048)),
    ):
        ours = access_tokens(Key.from_pem(pem(pair), kid="k1"))
        theirs = access_tokens(Key.from_pem(pem(other), kid="k1"))
        token = theirs.issue(user_id=7, session_id="session")
        assert theirs.verify(token).user_id == 7
        refuse(token, ours)


def test_a_retired_key_verifies_until_it_is_removed() -> None:
    old, new = Key.from_secret(SECRET, kid="old"), Key.from_pem(pem(ED25519), kid="new")
    token = access_tokens(old).issue(user_id=7, session_id="session")
    rotated = access_tokens(new, old)
    assert rotated.verify(token).user_id == 7
    assert json.loads(decoded(rotated.issue(user_id=7, session_id="s").split(".")[0]))["kid"] == "new"
    refuse(token, access_tokens(new))


def test_a_retired_public_key_verifies() -> None:
    token = access_tokens(Key.from_pem(pem(ED25519), kid="old")).issue(user_id=7, session_id="session")
    rotated = access_tokens(Key.from_secret(SECRET, kid="new"), Key.from_pem(public_pem(ED25519), kid="old"))
    assert rotated.verify(token).user_id == 7


# The shape


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "...",
        "a.b",
        "a.b.c",
        "a.b.c.d",
        "a.b.c.d.e",
        f" {signed()}",
        f"{signed()} ",
        f"{signed()}\n",
        f"{signed()}=",
        f"{signed()}==",
        f"{signed()}.",
        f".{signed()}",
        f"Bearer {signed()}",
        f"{signed()}\x00",
        f"{signed()}\ud800",
        f"{signed()}\u0101",
        signed().replace(".", "\uff0e"),
        signed().replace(".", "=."),
        signed().rpartition(".")[0] + ".",
        f"{signed()[:-4]}+/==",
        json.dumps({"payload": part(CLAIMS), "protected": part(HEADER), "signature": "x"}),
    ],
)
def test_another_shape_is_refused(token: str) -> None:
    refuse(token)


def test_a_token_has_at_most_8_kib() -> None:
    def padded(length: int) -> str:
        return signed(claims={**CLAIMS, "pad": "x" * length})

    fits = 8_192 - len(padded(0))
    fitting = next(padded(size) for size in range(fits, 0, -1) if len(padded(size)) <= 8_192)
    assert len(fitting) > 8_180
    assert access_tokens().verify(fitting).user_id == 7
    larger = padded(fits)
    assert len(larger) > 8_192
    refuse(larger)
    refuse(padded(1_000_000))


@given(st.text(max_size=200, alphabet=st.characters(exclude_categories=[])))
def test_no_text_is_more_than_an_invalid_token(text: str) -> None:
    refuse(text)


@given(st.lists(st.binary(max_size=60), min_size=3, max_size=3))
def test_no_three_parts_are_more_than_an_invalid_token(parts: list[bytes]) -> None:
    refuse(".".join(part(raw) for raw in parts))


TOKEN = signed()


@given(st.integers(0, len(TOKEN) - 1), st.characters())
def test_a_changed_character_is_refused_or_changes_nothing(place: int, character: str) -> None:
    changed = TOKEN[:place] + character + TOKEN[place + 1 :]
    try:
        claims = access_tokens().verify(changed)
    except InvalidToken:
        return
    assert claims == access_tokens().verify(TOKEN)


@given(st.integers(0, len(TOKEN) - 1))
def test_a_shortened_token_is_refused(length: int) -> None:
    refuse(TOKEN[:length])


def test_what_holds_a_session_is_no_access_token() -> None:
    session_id, secret = new_session_id(), new_session_secret()
    sessions = SessionSecrets(SECRET)
    refuse(sessions.refresh_token(session_id, secret, 0))
    refuse(sessions.cookie(session_id, secret))


@given(st.one_of(st.integers(1, MAX_ID), st.uuids()))
def test_an_id_has_one_spelling(user_id: int | UUID) -> None:
    """A number without zeros before it, or a UUID in small letters with its dashes, and no other text."""
    text = str(user_id)
    assert parse_user_id(text) == user_id
    others = [f"0{text}", f"+{text}", f" {text}", f"{text} ", f"{text}\n", f"-{text}", f"{text}.0", f"{{{text}}}"]
    if isinstance(user_id, UUID):
        others += [user_id.hex, f"urn:uuid:{text}", text.replace("-", "", 1)]
        groups = text.split("-")
        raised = ["-".join([*groups[:place], each.upper(), *groups[place + 1 :]]) for place, each in enumerate(groups)]
        others += [spelling for spelling in (*raised, text.upper()) if spelling != text]
    for other in others:
        assert parse_user_id(other) is None


@pytest.mark.parametrize("text", ["", "0", str(MAX_ID + 1), "9" * 100, "\u0661", "\uff11", "1_0", "1e3", "0x1", "None"])
def test_what_is_no_id_is_none(text: str) -> None:
    assert parse_user_id(text) is None


# Tokens that are remembered


def test_a_remembered_token_ends_when_it_would_have_ended_anyway() -> None:
    now = [float(NOW)]
    tokens = access_tokens(clock=lambda: now[0])
    token = tokens.issue(user_id=7, session_id="session")
    first = tokens.verify(token)
    assert tokens.verify(token) is first
    now[0] = NOW + 900 + 4.9
    assert tokens.verify(token) is first
    for moment in (NOW + 900 + 5, NOW - 5.1):
        now[0] = moment
        with pytest.raises(InvalidToken):
            tokens.verify(token)
    now[0] = NOW
    assert tokens.verify(token) == first


def test_a_key_that_is_taken_away_ends_what_is_remembered() -> None:
    old, new = Key.from_secret(SECRET, kid="k1"), Key.from_secret(SECRET[::-1], kid="k2")
    tokens = access_tokens(old)
    token = tokens.issue(user_id=7, session_id="session")
    tokens.verify(token)
    tokens.keys = KeySet(new, [old])
    assert tokens.verify(token).user_id == 7
    tokens.keys = KeySet(new)
    with pytest.raises(InvalidToken):
        tokens.verify(token)


@pytest.mark.parametrize("most", [0, 1, 3])
def test_no_more_are_remembered_than_asked_for_and_nothing_that_does_not_hold(most: int) -> None:
    tokens = access_tokens(max_remembered=most)
    issued = [tokens.issue(user_id=number, session_id="session") for number in range(1, 6)]
    for token in issued:
        tokens.verify(token)
        with pytest.raises(InvalidToken):
            tokens.verify(token[:-4] + "AAAA")
    assert len(tokens._remembered) == most
    assert [tokens.verify(token).user_id for token in issued] == [1, 2, 3, 4, 5]
