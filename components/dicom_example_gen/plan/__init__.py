"""What becomes of each file: exam, label, patient, split."""
