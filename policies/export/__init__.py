"""What leaves for a chip: trained networks in the formats of Lava, NIR, SpiNNaker and C."""
