"""What the published files of the judges are called in ``checkpoints/auxiliary``: known without loading any network."""

SYNCNET_V2_FILE, S3FD_FILE, HYPERIQA_FILE = "syncnet_v2.model", "sfd_face.pth", "koniq_pretrained.pkl"
