"""Models and LoRAs: what the catalogue says, what lies on the disk, how the missing is fetched. Draws nothing."""
