# One image for both: PyTorch from PyPI brings CUDA's libraries and runs without a GPU too.
#   docker build -t paper_repro .
#   docker run --rm -it -p 8888:8888 paper_repro                                    JupyterLab; the address with its token is printed
#   docker run --rm -it --gpus all --ipc=host paper_repro make reproduce            the host needs NVIDIA's driver and container toolkit
#   docker run --rm -v /my/data:/data:ro -e PAPER_REPRO_DATA=/data paper_repro make reproduce PROFILE=quick
ARG BASE=python:3.11-slim-bookworm
FROM ${BASE}

# g++ is for torch.compile; a base that has all three needs no package index
RUN if ! command -v git || ! command -v make || ! command -v g++; then \
        apt-get update && \
        apt-get install -y --no-install-recommends git make g++ && \
        rm -rf /var/lib/apt/lists/*; \
    fi

RUN useradd --create-home --uid 1000 --shell /bin/bash reader && \
    mkdir -p /opt/venv /home/reader/paper_repro && \
    chown reader:reader /opt/venv /home/reader/paper_repro
USER reader
WORKDIR /home/reader/paper_repro
ENV HOME=/home/reader VENV=/opt/venv PATH=/opt/venv/bin:$PATH PIP_NO_CACHE_DIR=1 PYTHONUNBUFFERED=1

# the requirements come before the sources, so that a change of the sources reinstalls nothing
COPY --chown=reader:reader settings.ini tools/requirements.py /home/reader/requirements/
RUN python3 -m venv /opt/venv && \
    cd /home/reader/requirements && mkdir tools && mv requirements.py tools && \
    python tools/requirements.py dev > requirements.txt && \
    pip install --quiet --disable-pip-version-check -r requirements.txt

COPY --chown=reader:reader . .
RUN make dev

EXPOSE 8888
CMD ["jupyter", "lab", "--ip=0.0.0.0", "--port=8888", "--no-browser", "--LabApp.default_url=/lab/tree/nbs"]
