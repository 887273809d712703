"""The containers that files may come in and the protocols that FFmpeg may open: every file is opened with these lists.

FFmpeg finds out by content what a file is, whatever its name says, and some formats are lists of other files: HLS and
DASH playlists, concat scripts, SDP session descriptions, numbered image sequences, subtitle indexes. Read as media, a
stranger's file of such a kind would show the files of this machine or of its network. So only formats whose data lie
in the file itself are on the lists, and nested files can be opened by no protocol at all but ``file``.
"""

from __future__ import annotations

PROTOCOLS = "file"

_MP4, _MATROSKA = "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"
_IMAGES = (
    "png_pipe jpeg_pipe bmp_pipe tiff_pipe webp_pipe ppm_pipe pgm_pipe pbm_pipe pam_pipe pgmyuv_pipe gif gif_pipe apng "
    "exr_pipe dpx_pipe j2k_pipe jpegls_pipe jpegxl_pipe jpegxl_anim qoi_pipe hdr_pipe pfm_pipe pcx_pipe sgi_pipe "
    "sunrast_pipe xwd_pipe psd_pipe"
)
_VIDEO = (
    f"{_MP4} {_MATROSKA} avi flv live_flv asf asf_o mpegts mpeg mpegvideo m4v h261 h263 h264 hevc vvc av1 obu ivf "
    "mjpeg dv dirac vc1 cavsvideo mxf gxf nut rm wtv nsv yuv4mpegpipe"
)
_AUDIO = (
    "wav w64 aiff caf au mp3 aac loas flac ogg ac3 eac3 dts dtshd truehd mlp amr amrnb amrwb ape wv tta tak mpc "
    "mpc8 shn dsf iff voc gsm nistsphere ircam sox oma qoa xwma spdif"
)
READABLE = ",".join(f"{_VIDEO} {_AUDIO} {_IMAGES}".split())

# What strangers may send: common containers with an index, and no images or GIF, which unpack to any size.
COMMON_VIDEO = f"{_MP4},{_MATROSKA},avi"
COMMON_AUDIO = f"{COMMON_VIDEO},wav,w64,aiff,mp3,aac,flac,ogg"
