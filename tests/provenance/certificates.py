"""A certificate and its key as a signer of C2PA needs them, made for the test."""

from __future__ import annotations

import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Key = ec.EllipticCurvePrivateKey
USES = (
    "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
    "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
)  # fmt: skip


def write_certificate(folder: Path) -> tuple[Path, Path]:
    """``cert.pem``, the signer's certificate and that of the authority over it, and ``key.pem``, in ``folder``."""
    authority, signer = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    above = _builder("authority", authority, authority, {"key_cert_sign"}, is_authority=True)
    email = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])  # what C2PA takes for content credentials
    own = _builder("signer", signer, authority, {"digital_signature"}, is_authority=False).add_extension(email, False)
    chain = [builder.sign(authority, hashes.SHA256()) for builder in (own, above)]
    certificate, key = folder / "cert.pem", folder / "key.pem"
    certificate.write_bytes(b"".join(each.public_bytes(serialization.Encoding.PEM) for each in chain))
    write_key(key, signer)
    return certificate, key


def write_key(path: Path, key: Key | None = None) -> Path:
    """``key``, or another one, as PEM."""
    private = key or ec.generate_private_key(ec.SECP256R1())
    pkcs8, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    path.write_bytes(private.private_bytes(serialization.Encoding.PEM, pkcs8, plain))
    return path


def _builder(name: str, key: Key, issuer: Key, uses: set[str], *, is_authority: bool) -> x509.CertificateBuilder:
    now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(_name("authority"))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
        .add_extension(x509.KeyUsage(**{use: use in uses for use in USES}), critical=True)
        .add_extension(identifier, critical=False)
    )


def _name(name: str) -> x509.Name:
    parts = {NameOID.COUNTRY_NAME: "XX", NameOID.ORGANIZATION_NAME: "latentsync tests", NameOID.COMMON_NAME: name}
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in parts.items()])
