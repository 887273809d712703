# The command `latentsync` as an image, for the service, the page, a batch or a single dub. No weights are inside but the
# small built-in ones: mount those that `latentsync weights` fetched at /data/checkpoints.
#
#     docker build -t latentsync .                                       CPU
#     docker build -t latentsync:cuda --build-arg TORCH=cuda .           CUDA: the driver comes from the host
#     docker run --rm -v latentsync:/data latentsync serve --new_key alice --keys /data/keys.toml
#     docker run --gpus all -v latentsync:/data -p 8000:8000 latentsync:cuda
#
# TORCH=cuda installs torch as the package index has it, which for Linux brings CUDA with it; TORCH=cpu takes the index of
# builds without it. EXTRAS are those of docs/library.md.

ARG PYTHON=3.12
FROM python:${PYTHON}-slim-bookworm AS build
ARG TORCH=cpu
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG EXTRAS=serve,page
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
RUN python -m venv /opt/latentsync
ENV PATH=/opt/latentsync/bin:$PATH
# torch first: it is most of the image, and this layer stays when the program changes
RUN if [ "$TORCH" = cpu ]; then pip install "torch>=2.4" --index-url "$TORCH_INDEX"; else pip install "torch>=2.4"; fi
WORKDIR /source
COPY pyproject.toml README.md requirements*.txt ./
COPY assets assets
COPY checkpoints/builtin checkpoints/builtin
COPY configs configs
COPY docs docs
COPY latentsync latentsync
# hadolint ignore=DL3013
RUN wheel="$(python -m pip wheel --quiet --no-deps --wheel-dir /wheels . && ls /wheels/latentsync-*.whl)" \
    && pip install "${wheel}[${EXTRAS}]"
# opencv-python wants libraries of a screen, which a server has not; the headless build is the same without them
RUN pip uninstall --yes opencv-python opencv-contrib-python && pip install "opencv-python-headless>=4.10"

FROM python:${PYTHON}-slim-bookworm
RUN groupadd --gid 1000 latentsync \
    && useradd --uid 1000 --gid 1000 --create-home --shell /usr/sbin/nologin latentsync \
    && install --directory --owner latentsync --group latentsync /data
COPY --from=build /opt/latentsync /opt/latentsync
ENV PATH=/opt/latentsync/bin:$PATH \
    LATENTSYNC_HOME=/data \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility,video \
    PYTHONUNBUFFERED=1
USER 1000:1000
WORKDIR /data
VOLUME /data
EXPOSE 8000
# Of the service; other commands are run with --no-healthcheck.
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
ENTRYPOINT ["latentsync"]
CMD ["serve", "--host", "0.0.0.0", "--data", "/data/service", "--keys", "/data/keys.toml"]
