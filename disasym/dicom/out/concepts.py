"""Coded concepts: standard ones (DICOM PS3.16, SNOMED CT), and two of our own for what no standard code says.

"Probability of cancer" (111047, DCM) is none of them: abnormal includes benign findings.
"""

from pydicom.sr.coding import Code

from disasym.spec import Laterality, View

OWN = "99DISASYM"  # a private scheme (PS3.16 8.2: 99 and a name)
ABNORMAL = Code("ABNORMAL", OWN, "Probability that the breast is abnormal")
ASYMMETRIC = Code("ASYMMETRIC", OWN, "Probability that the breasts are asymmetric")

CERTAINTY = Code("111012", "DCM", "Certainty of Finding")  # in percent, as in mammography CAD (TID 4019)
PERCENT = Code("%", "UCUM", "Percent")
PIXELS = Code("{pixels}", "UCUM", "Pixels")

MAMMOGRAPHY = Code("71651007", "SCT", "Mammography")
BREAST = Code("76752008", "SCT", "Breast")
LESION = Code("52988006", "SCT", "Lesion")
ABNORMAL_STRUCTURE = Code("49755003", "SCT", "Morphologically Abnormal Structure")
SOURCE = Code("260753009", "SCT", "Source")
SIDES: dict[Laterality, Code] = {"R": Code("24028007", "SCT", "Right"), "L": Code("7771000", "SCT", "Left")}
BOTH = Code("51440002", "SCT", "Bilateral")
VIEWS: dict[View, Code] = {
    "CC": Code("399162004", "SCT", "cranio-caudal"),
    "MLO": Code("399368009", "SCT", "medio-lateral oblique"),
}
ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")
MG = Code("MG", "DCM", "Mammography")

IMAGE_LIBRARY = Code("111028", "DCM", "Image Library")
IMAGE_LIBRARY_GROUP = Code("126200", "DCM", "Image Library Group")
MODALITY = Code("121139", "DCM", "Modality")
IMAGE_LATERALITY = Code("111027", "DCM", "Image Laterality")
IMAGE_VIEW = Code("111031", "DCM", "Image View")
ROWS = Code("110910", "DCM", "Pixel Data Rows")
COLUMNS = Code("110911", "DCM", "Pixel Data Columns")
COMMENT = Code("121106", "DCM", "Comment")
