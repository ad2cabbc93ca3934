"""Google's service accounts and access tokens at the sandbox: derived, so that nobody has to store them.

https://developers.google.com/identity/protocols/oauth2/service-account#httprest
"""

import base64
import binascii
import hashlib
import hmac
import json
import os
import time
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from django.conf import settings

DOMAIN = ".iam.gserviceaccount.com"
SCOPE = "https://www.googleapis.com/auth/firebase.messaging"
_MAX_LIFE, _LEEWAY = 3_600, 60

# The primes of the one key of all sandbox accounts. It guards nothing: whose account signed is told by the key id.
_P = int(
    "dac0c780a1443d5c227a946c12ea1fa8cecfec1979b6e4f0b519c277ef9d106267b414f7b314bc74ca74ce"
    "9026c1f01015ab60d08bdea6a35f6c20749f4f1218d54ead0860f000430c8f438f8e9ebf984a55543d25a5"
    "b3e7f44e3391ef816513276476a621856c4c305bea6d10a7144f189d29a50cf1b40ef1fd232dd18a0797",
    16,
)
_Q = int(
    "d753ee1610a00ac122689a0677fac4b7cec99e24ce3bbf6fce64247c068964755c361c11651b1a9580c6ce"
    "4827d051f2d0d7e95fb9987431582b6b7d170b4c976b511e09a32e134af447a2e97a7fa82f7267442731e6"
    "d1909e2383b974e4e4d85fb7f5addf296af68556b0015d7f78c9acd2f159c1d985e23056aaa702379a1d",
    16,
)


class BadToken(Exception):
    """An assertion or an access token that does not hold; the text is what Google says of it."""


def project_of(tenant: str) -> str:
    return "sandbox-" + hashlib.blake2b(tenant.encode(), digest_size=8, person=b"sandbox").hexdigest()


def service_account(tenant: str, name: str = "sprayer") -> dict[str, Any]:
    """The JSON document that Google's console would give out."""
    project = project_of(tenant)
    email = f"{name}@{project}{DOMAIN}"
    return {
        "type": "service_account",
        "project_id": project,
        "private_key_id": _key_id(email),
        "private_key": _private_pem(),
        "client_email": email,
        "token_uri": "https://oauth2.googleapis.com/token",
    }


def verified_issuer(assertion: str) -> str:
    """The client_email of a service account's assertion. Raises BadToken.

    Checked are the algorithm (RS256), iss, scope, iat and exp (at most an hour ahead), not aud, which names Google's
    own endpoint wherever the request goes. Of a sandbox account also the key id and the signature; those of another
    account cannot be: nobody here knows its public key.
    """
    try:
        header, claims = jwt.get_unverified_header(assertion), _claims(assertion, verify=False)
        issuer = str(claims["iss"])
        if header["alg"] != "RS256" or not issuer.endswith(DOMAIN) or SCOPE not in str(claims["scope"]).split():
            raise BadToken("Invalid JWT: it must be RS256 and name a service account and the messaging scope.")
        if claims["exp"] - claims["iat"] > _MAX_LIFE:
            raise BadToken("Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe.")
        if issuer.partition("@")[2].startswith("sandbox-"):
            if not hmac.compare_digest(str(header.get("kid")).encode(), _key_id(issuer).encode()):
                raise BadToken("Invalid grant: account not found")
            _claims(assertion, verify=True)
    except jwt.InvalidSignatureError as error:
        raise BadToken("Invalid JWT Signature.") from error
    except jwt.PyJWTError as error:
        raise BadToken(f"Invalid JWT: {error}") from error
    return issuer


def access_token(email: str, life: int) -> str:
    """A new one, good for `life` seconds."""
    claims = {"email": email, "exp": time.time() + life, "nonce": os.urandom(6).hex()}
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode()
    return f"ya29.{payload}.{_mac(payload)}"


def account_of(token: str) -> str:
    """The service account that an access token was given to. Raises BadToken."""
    try:
        kind, payload, mac = token.split(".")
        if kind == "ya29" and hmac.compare_digest(mac.encode(), _mac(payload).encode()):
            claims = json.loads(base64.urlsafe_b64decode(payload))
            if claims["exp"] > time.time():
                return str(claims["email"])
    except (ValueError, binascii.Error) as error:
        raise BadToken("Request had invalid authentication credentials.") from error
    raise BadToken("Request had invalid authentication credentials.")


def _claims(assertion: str, verify: bool) -> dict[str, Any]:
    required = ["iss", "iat", "exp", "scope"]
    options: Any = {"verify_signature": verify, "verify_aud": False, "verify_exp": True, "require": required}
    options["verify_iat"] = True
    return jwt.decode(assertion, _key().public_key(), algorithms=["RS256"], options=options, leeway=_LEEWAY)


@cache
def _key() -> rsa.RSAPrivateKey:
    n, e, d = _P * _Q, 65_537, pow(65_537, -1, (_P - 1) * (_Q - 1))
    parts = (rsa.rsa_crt_dmp1(d, _P), rsa.rsa_crt_dmq1(d, _Q), rsa.rsa_crt_iqmp(_P, _Q))
    return rsa.RSAPrivateNumbers(_P, _Q, d, *parts, rsa.RSAPublicNumbers(e, n)).private_key()


@cache
def _private_pem() -> str:
    return _key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _key_id(email: str) -> str:
    return _mac(f"key {email}")[:40]


def _mac(text: str) -> str:
    return hmac.new(settings.SECRET_KEY.encode(), b"sandbox.android:" + text.encode(), hashlib.sha256).hexdigest()
