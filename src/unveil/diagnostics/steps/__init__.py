"""What the forwards of a recorded decode did."""
