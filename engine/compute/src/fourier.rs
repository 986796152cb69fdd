//! Fourier transforms of images and volumes, in the layout of [`vitreous_model::conventions`].
