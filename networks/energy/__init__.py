"""Networks that are an energy of their states: Hopfield networks, Boltzmann machines and restricted ones."""
