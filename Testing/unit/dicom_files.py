"""DICOM files as a scanner's export has them, with a patient in header and folder."""

import numpy as np
import SimpleITK as sitk

PATIENT, PATIENT_ID, BIRTH = "Wunderlich^Mathilda", "PID-778899", "20250102"
SECRETS = ("Wunderlich", "Mathilda", PATIENT_ID, BIRTH, "1.2.3.4.")


def write_series(folder, image, uid="1.2.3.4.1", description="T1w", skip=()):
    """Write an image's slices as DICOM files whose names and numbers tell nothing of their order."""
    folder.mkdir(parents=True, exist_ok=True)
    direction = np.reshape(image.GetDirection(), (3, 3))
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    scaled = sitk.Cast(sitk.Clamp(image, sitk.sitkFloat32, 0, 4000), sitk.sitkUInt16)
    for k in range(image.GetSize()[2]):
        if k in skip:
            continue
        part = scaled[:, :, k]
        tags = {
            "0008|0060": "MR",
            "0008|103e": description,
            "0010|0010": PATIENT,
            "0010|0020": PATIENT_ID,
            "0010|0030": BIRTH,
            "0018|0050": f"{image.GetSpacing()[2]:g}",
            "0020|000d": "1.2.3.4",
            "0020|000e": uid,
            "0020|0032": "\\".join(f"{v:.8g}" for v in image.TransformIndexToPhysicalPoint((0, 0, k))),
            "0020|0037": "\\".join(f"{v:.8g}" for v in [*direction[:, 0], *direction[:, 1]]),
            "0008|0018": f"{uid}.{k + 1}",
        }
        for key, value in tags.items():
            part.SetMetaData(key, value)
        writer.SetFileName(str(folder / f"{uid}-{(k * 7919) % 10007:05d}.dcm"))
        writer.Execute(part)
    return folder
