"""Content credentials (C2PA): a signed statement inside a result of how it was made and from which source.

The statement says that the source was opened and edited into a composite with media of a trained network. Whoever holds
the file can check with any C2PA tool that neither the file nor the statement has changed since, and whose certificate
signed it. https://spec.c2pa.org
"""

from __future__ import annotations

import io
import mimetypes
import wave
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, BinaryIO

from latentsync.atomic import atomic_file
from latentsync.constants import VERSION
from latentsync.errors import ConfigError, OutputError
from latentsync.extras import package_missing
from latentsync.provenance.label import DIGITAL_SOURCE_TYPE, GENERATOR

if TYPE_CHECKING:
    import c2pa

# What can carry a signature, of the containers that are written here.
FORMATS = {".mp4": "video/mp4", ".m4v": "video/x-m4v", ".mov": "video/quicktime", ".avi": "video/x-msvideo"}
_CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}


@dataclass(frozen=True, slots=True)
class Signer:
    """``certificate``: a PEM file with the signer's certificate and those above it; ``key``: its private key, PEM."""

    certificate: Path
    key: Path

    def check(self, output: Path, source: Path) -> None:
        """Sign a trial, so that a run does not fail at its end.

        Raises ``PackageMissingError``, and ``ConfigError`` for a certificate or key that does not sign, an ``output``
        that can carry no signature, or a ``source`` that cannot be named in one.
        """
        library = _library()
        if output.suffix.lower() not in FORMATS:
            raise ConfigError(
                f"{output} cannot carry a C2PA signature.", remedy=f"Let its name end in {', '.join(FORMATS)}."
            )
        if not source.is_file():
            raise ConfigError(
                f"{source} is no single file: a signature names the source by its checksum.",
                remedy="Make a video of the pictures first, or leave --c2pa out.",
            )
        try:
            with library.Builder(_statement(output.name, "trial")) as builder, self._signer() as signer:
                _add_ingredient(builder, Path("trial.wav"), "parentOf", _second_of_silence())
                builder.sign(signer, "audio/wav", _second_of_silence(), io.BytesIO())
        except library.C2paError as error:
            raise ConfigError(
                f"{self.certificate} and {self.key} do not sign: {error}.",
                remedy="Give a PEM file with the certificate and those above it, and its private key; it has to "
                "allow digital signatures, and may not be signed by itself.",
            ) from error

    def sign(self, path: Path, title: str, label: str, ingredients: Mapping[Path, str]) -> None:
        """Sign the video ``path`` in place; ``title`` is the name that it will have, with a suffix of ``FORMATS``.

        ``label``: how it was made. ``ingredients``: files that it was made of -> "parentOf" for the one that was
        edited, "componentOf" for others. Raises ``OutputError`` if it cannot be signed.
        """
        library = _library()
        try:
            with library.Builder(_statement(title, label)) as builder, self._signer() as signer:
                for source, relationship in ingredients.items():
                    with source.open("rb") as stream:
                        _add_ingredient(builder, source, relationship, stream)
                with atomic_file(path) as signed, path.open("rb") as unsigned, signed.open("w+b") as stream:
                    builder.sign(signer, FORMATS[Path(title).suffix.lower()], unsigned, stream)
        except (library.C2paError, OSError) as error:
            raise OutputError(f"{title} cannot be signed: {error}.", remedy="Leave --c2pa out.") from error

    def _signer(self) -> c2pa.Signer:
        """Raises ``ConfigError`` for files that cannot be read."""
        library = _library()
        try:
            certificate, key = self.certificate.read_bytes(), self.key.read_bytes()
            algorithm = _algorithm(key)
        except (OSError, ValueError, TypeError) as error:
            raise ConfigError(
                f"{self.certificate} or {self.key} cannot be read: {error}.",
                remedy="Give a certificate and a private key as PEM files, the key without a password.",
            ) from error
        return library.Signer.from_info(library.C2paSignerInfo(algorithm.encode(), certificate, key, None))


def _library() -> ModuleType:
    try:
        import c2pa
    except ImportError as error:
        raise package_missing("Signing", "c2pa", error) from error
    return c2pa


def _algorithm(key: bytes) -> str:
    """C2PA's name of what a private key signs with. Raises ``ValueError`` and ``TypeError`` for anything else."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    private = load_pem_private_key(key, password=None)
    if isinstance(private, ec.EllipticCurvePrivateKey) and private.curve.name in _CURVES:
        return _CURVES[private.curve.name]
    if isinstance(private, rsa.RSAPrivateKey):
        return "ps256"
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return "ed25519"
    raise ValueError("C2PA signs with keys of the curves P-256, P-384 and P-521, with RSA and Ed25519")


def _statement(title: str, label: str) -> dict[str, object]:
    """What is signed, in the words of C2PA's actions."""
    edited = {"action": "c2pa.edited", "digitalSourceType": DIGITAL_SOURCE_TYPE, "description": label}
    opened = {"action": "c2pa.opened", "parameters": {"ingredientIds": ["parentOf"]}}
    return {
        "title": title,
        "claim_generator_info": [{"name": GENERATOR, "version": VERSION}],
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [opened, edited]}}],
    }


def _add_ingredient(builder: c2pa.Builder, path: Path, relationship: str, stream: BinaryIO) -> None:
    about = {"title": path.name, "relationship": relationship, "label": relationship}
    builder.add_ingredient(about, mimetypes.guess_type(path.name)[0] or "application/octet-stream", stream)


def _second_of_silence() -> BinaryIO:
    stream = io.BytesIO()
    with wave.open(stream, "wb") as second:
        second.setparams((1, 2, 8000, 0, "NONE", ""))
        second.writeframes(bytes(16000))
    stream.seek(0)
    return stream
