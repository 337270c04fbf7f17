"""The commands export and verify: trained networks leave for chips, and are compared with themselves there."""
