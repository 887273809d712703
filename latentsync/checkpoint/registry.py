"""The weight files that this project can use: where each comes from, where it goes, what is known of it.

Sizes and checksums stand here only where a source states them; the hub states the others when a file is fetched.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from latentsync.checkpoint.card import Kind

Release = Literal["1.0", "1.5", "1.6"]
Purpose = Literal["inference", "training", "data", "eval"]

RELEASES: tuple[Release, ...] = ("1.0", "1.5", "1.6")
PURPOSES: tuple[Purpose, ...] = ("inference", "training", "data", "eval")
DEFAULT_RELEASE: Release = "1.6"  # what the published inference recipe runs
RESOLUTION: dict[str, int] = {"1.0": 256, "1.5": 256, "1.6": 512}  # face side that the U-Net was trained at, pixels
INFERENCE_VRAM_GB: dict[str, int] = {"1.5": 8, "1.6": 18}  # GPU memory that the publishers state

HUB_REPOSITORY: dict[str, str] = {
    "1.0": "ByteDance/LatentSync",
    "1.5": "ByteDance/LatentSync-1.5",
    "1.6": "ByteDance/LatentSync-1.6",
}
CODEC_WEIGHTS = "diffusion_pytorch_model.safetensors"  # what diffusers calls them in a codec's folder
AUXILIARY_REPOSITORY = HUB_REPOSITORY["1.5"]  # release 1.6 brings none of its own

# openai-whisper states these in the addresses of its files.
WHISPER_SHA256 = {
    "tiny.pt": "65147644a518d12f04e32d6f3b26facc3f8dd46e5390956a9424a650c0ce22b9",
    "small.pt": "9ecf779972d90ba49c06d968637d720dd632c55bbf19d441fb42bf17a411e794",
}
WHISPER_ADDRESS = "https://openaipublic.azureedge.net/main/whisper/models/{sha256}/{name}"
FACE_LANDMARKER_ADDRESS = (
    "https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/float16/1/face_landmarker.task"
)
YUNET_DYNAMIC_ADDRESS = (
    "https://raw.githubusercontent.com/ShiqiYu/libfacedetection.train/master/onnx/yunet_n_dynamic.onnx"
)
INCEPTION_ADDRESS = "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/{name}"
FACE_ALIGNMENT_ADDRESS = "https://www.adrianbulat.com/downloads/python-fan/{name}"

# Networks of the metrics, in auxiliary/.
SYNCNET_V2_FILE, S3FD_FILE = "syncnet_v2.model", "sfd_face.pth"
VGG_FILE = "vgg16-397923af.pth"
HYPERIQA_FILE = "koniq_pretrained.pkl"
INCEPTION_FILE = "pt_inception-2015-12-05-6726825d.pth"
I3D_FILE = "i3d_torchscript.pt"


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file in a repository of the Hugging Face hub or a mirror of it."""

    repository: str
    path: str


@dataclass(frozen=True, slots=True)
class WebFile:
    """A file at a fixed address."""

    url: str


@dataclass(frozen=True, slots=True)
class KnownFile:
    """One file. ``sources`` are tried in order; one without any has to be copied by hand."""

    target: str  # path under checkpoints/, and the name that users give it
    use: str
    licence: str
    sources: tuple[HubFile | WebFile, ...] = ()
    purposes: tuple[Purpose, ...] = ()  # none: only fetched when named
    release: Release | None = None  # None: the same for all
    card: Kind | None = "auxiliary"  # kind of card that is written beside it
    size: int | None = None  # bytes
    sha256: str | None = None  # whole, or the leading digits that the file's name states
    commercial: bool | None = None  # whether the licence allows commercial use; None = ask the source


SEE_SOURCE = "see source"
LICENCE = {
    "1.0": SEE_SOURCE,
    "1.5": "OpenRAIL++",
    "1.6": SEE_SOURCE,
}  # of a release's own weights, where its page was read


def _unet(release: Release) -> KnownFile:
    return KnownFile(
        target="latentsync_unet.pt",
        use=f"U-Net of release {release}, {RESOLUTION[release]} pixels",
        licence=LICENCE[release],
        sources=(HubFile(HUB_REPOSITORY[release], "latentsync_unet.pt"),),
        purposes=("inference", "training"),
        release=release,
        card="unet",
    )


def _syncnet(release: Release) -> KnownFile:
    name = "latentsync_syncnet.pt" if release == "1.0" else "stable_syncnet.pt"
    return KnownFile(
        target=name,
        use="sync network of the U-Net's training",
        licence=LICENCE[release],
        sources=(HubFile(HUB_REPOSITORY[release], name),),
        purposes=("training", "eval"),
        release=release,
        card="syncnet",
    )


def _whisper(name: str, *purposes: Purpose) -> KnownFile:
    sha256 = WHISPER_SHA256[name]
    web = WebFile(WHISPER_ADDRESS.format(sha256=sha256, name=name))
    hub = HubFile(AUXILIARY_REPOSITORY, f"whisper/{name}")
    return KnownFile(
        target=f"whisper/{name}",
        use="audio encoder" if purposes else "larger audio encoder, for U-Nets trained with it",
        licence="MIT",
        commercial=True,
        sources=(hub, web) if purposes else (web,),
        purposes=purposes,
        card="whisper",
        sha256=sha256,
    )


def _vae(name: str) -> KnownFile:
    return KnownFile(
        target=f"vae/{name}",
        use="autoencoder of the latents (stabilityai/sd-vae-ft-mse)",
        licence="MIT",
        commercial=True,
        sources=(HubFile("stabilityai/sd-vae-ft-mse", name),),
        purposes=("inference", "training", "eval"),
        card="codec" if name != "config.json" else None,
    )


def _taesd(name: str) -> KnownFile:
    return KnownFile(
        target=f"taesd/{name}",
        use="small autoencoder of the same latents, for the preset 'preview' (madebyollin/taesd)",
        licence="MIT",
        commercial=True,
        sources=(HubFile("madebyollin/taesd", name),),
        card="codec" if name != "config.json" else None,
    )


def _face_alignment(name: str, sha256: str, use: str, *purposes: Purpose, on_hub: bool = False) -> KnownFile:
    web = WebFile(FACE_ALIGNMENT_ADDRESS.format(name=name))
    hub = (HubFile(AUXILIARY_REPOSITORY, f"auxiliary/{name}"),) if on_hub else ()
    return KnownFile(
        target=f"auxiliary/{name}",
        use=use,
        licence=SEE_SOURCE,
        sources=(web, *hub),
        purposes=purposes,
        sha256=sha256,
    )


def _auxiliary(name: str, use: str, *purposes: Purpose) -> KnownFile:
    hub = HubFile(AUXILIARY_REPOSITORY, f"auxiliary/{name}")
    return KnownFile(target=f"auxiliary/{name}", use=use, licence=SEE_SOURCE, sources=(hub,), purposes=purposes)


KNOWN_FILES: tuple[KnownFile, ...] = (
    *(_unet(release) for release in RELEASES),
    *(_syncnet(release) for release in RELEASES),
    _whisper("tiny.pt", "inference", "training"),
    _whisper("small.pt"),
    _vae("config.json"),
    _vae(CODEC_WEIGHTS),
    _taesd("config.json"),
    _taesd(CODEC_WEIGHTS),
    _face_alignment("s3fd-619a316812.pth", "619a316812", "face detector S3FD", "inference", "data", on_hub=True),
    _face_alignment("2DFAN4-11f355bf06.pth.tar", "11f355bf06", "68 landmarks, 2D-FAN", "inference", "data"),
    _face_alignment("2DFAN4-cd938726ad.zip", "cd938726ad", "68 landmarks, 2D-FAN, older TorchScript form", on_hub=True),
    KnownFile(
        target="auxiliary/face_detection_yunet_2023mar.onnx",
        use="face detector YuNet, quick on a CPU",
        licence="MIT",
        commercial=True,
        sources=(HubFile("opencv/face_detection_yunet", "face_detection_yunet_2023mar.onnx"),),
        purposes=("inference", "data", "eval"),
        size=232_589,
        sha256="8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",  # opencv_zoo's LFS pointer
    ),
    KnownFile(
        target="auxiliary/yunet_n_dynamic.onnx",
        use="YuNet as its authors export it; serves in place of the 2023mar file",
        licence="Apache-2.0",
        commercial=True,
        sources=(WebFile(YUNET_DYNAMIC_ADDRESS),),
        size=322_906,
        sha256="104ee26c71d5c270ce79a6b3dced91c91013260d29a6bf18f9296c5b8c4c2b12",
    ),
    KnownFile(
        target="auxiliary/face_landmarker.task",
        use="face mesh of 478 points (MediaPipe), landmarks for YuNet's faces",
        licence="Apache-2.0",
        commercial=True,
        sources=(
            WebFile(FACE_LANDMARKER_ADDRESS),
            HubFile("VLAAADYAAA/face-landmarker-task-model", "face_landmarker.task"),  # a copy; the checksum decides
        ),
        purposes=("inference", "data", "eval"),
        size=3_758_596,
        sha256="64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
    ),
    KnownFile(
        target=f"auxiliary/{VGG_FILE}",
        use="VGG-16 of the perceptual loss",
        licence=SEE_SOURCE,
        sources=(
            WebFile(f"https://download.pytorch.org/models/{VGG_FILE}"),
            HubFile(AUXILIARY_REPOSITORY, f"auxiliary/{VGG_FILE}"),
        ),
        purposes=("training", "eval"),
        sha256="397923af",
    ),
    KnownFile(
        target=f"auxiliary/{INCEPTION_FILE}",
        use="Inception v3: Frechet inception distance",
        licence="Apache-2.0",
        commercial=True,
        sources=(WebFile(INCEPTION_ADDRESS.format(name=INCEPTION_FILE)),),
        purposes=("eval",),
        sha256="6726825d",
    ),
    _auxiliary("vit_g_hybrid_pt_1200e_ssv2_ft.pth", "VideoMAE v2 of the temporal loss (TREPA)", "training"),
    _auxiliary(SYNCNET_V2_FILE, "SyncNet v2: sync confidence and offset", "data", "eval"),
    _auxiliary(S3FD_FILE, "face detector S3FD of the sync score", "data", "eval"),
    _auxiliary(HYPERIQA_FILE, "hyperIQA: image quality", "data", "eval"),
    _auxiliary(I3D_FILE, "I3D: Frechet video distance", "eval"),
)


def files_for(release: Release, purposes: tuple[Purpose, ...]) -> list[KnownFile]:
    """What ``release`` needs for ``purposes``, in the order of the table."""
    return [each for each in of_release(release) if set(each.purposes) & set(purposes)]


def of_release(release: Release) -> list[KnownFile]:
    """All files that go with ``release``; no two of them have the same target."""
    return [each for each in KNOWN_FILES if each.release in (None, release)]


def releases_with(target: str) -> list[Release]:
    """The releases that have a file of their own at ``target``."""
    return [each.release for each in KNOWN_FILES if each.target == target and each.release]
