"""The vocabulary of the made-up shop: departments, aisles, kinds of product, brands; the names are our own."""

import functools
from dataclasses import dataclass


@dataclass(frozen=True)
class Department:
    """Words of a department.

    Args:
        name: of the department.
        pull: on the popularity of its products; 0 is common.
        variants: the most used first.
        sizes: the most used first.
        aisles: aisle to the kinds of product in it.
    """

    name: str
    pull: float
    variants: tuple[str, ...]
    sizes: tuple[str, ...]
    aisles: dict[str, tuple[str, ...]]


def _split(text: str, separator: str = ", ") -> tuple[str, ...]:
    """The items of a written list."""
    return tuple(text.split(separator))


BRANDS = _split(
    "Green Valley, Simple Farm, Sunny Acre, Old Mill, Blue Harbor, Daily Basket, Golden Hearth, Nature Lane, "
    "Maple Ridge, Happy Hen, Bella Tavola, True North, Little Sprout, Stone Creek, Casa Rosa, Wild Meadow, Silver "
    "Spoon, Morning Dew, Honest Pantry, River Bend, Two Sisters, Cedar House, Uncle Theo's, Grandma Ida's, Lucky "
    "Clover, Open Field, Red Barn, Pacific Crest, Kind Kitchen, Pure Spring, Corner Store, High Plains, Amber "
    "Glen, Fresh Start, Mountain Top, Sea Breeze, Urban Garden, Royal Oak, Tiny Bites, Good Neighbor"
)
ADJECTIVES = _split(
    "Organic, Natural, Original, Classic, Gluten Free, Premium, Low Sodium, Fat Free, Sugar Free, Large, Extra, "
    "Fresh, Mini, Reduced Fat, Light, Vegan, Family Size, Homestyle, Unsweetened, Value"
)

# A department a paragraph: name and pull on popularity, variants, sizes, then a line an aisle with its kinds of
# product (semicolons between them, for a name may hold a comma).
# The first words of a list are the most used ones; a catalogue begins with the first aisle of each department.
_WORDS = r"""
dairy eggs | 1.3
Vanilla, Plain, Whole, Strawberry, Nonfat, Blueberry, Sharp, Honey, Peach, Mild
32 oz, 1 Gallon, 6 Pack
milk: 2.5% Lowfat Milk; Whole Milk; Skim Milk; Half & Half; Lactose Free Milk
yogurt: Greek Yogurt; Yogurt; Yogurt Cup; Kefir; Yogurt Tube
eggs: Large Brown Eggs; Cage Free Eggs; Egg Whites; Grade A Eggs
block cheese: Cheddar Cheese; Gouda; Monterey Jack; Swiss Cheese
sliced and shredded cheese: String Cheese; Shredded Mozzarella; Cheese Slices; Parmesan
butter and spreads: Salted Butter; Unsalted Butter; Margarine; Ghee
plant milk: Almond Milk; Oat Milk; Soy Milk; Coconut Milk Drink
cream and sour cream: Heavy Cream; Sour Cream; Cream Cheese; Cottage Cheese; Whipped Cream

bakery | 0.5
Whole Wheat, White, Sourdough, Multigrain, Cinnamon, Chocolate, Raisin, Seeded, Lemon
4 Count, 20 oz, 6 Count
celebration cakes: 8\" Celebration Cake; Carrot Cake; Cheesecake; Layer Cake; Cupcakes
sliced bread: Sandwich Bread; Loaf; Rye Bread; Toast Bread
rolls and buns: Hamburger Buns; Dinner Rolls; Baguette; Ciabatta
tortillas and flatbread: Flour Tortillas; Corn Tortillas; Pita; Naan; Wraps
bagels and muffins: Bagels; English Muffins; Blueberry Muffins; Scones
pastries: Croissants; Danish; Donuts; Apple Turnover; Brownies

pantry | 0
Garlic, Basil, Smoked, Sweet, Hot, Herb, Roasted, Lemon, Chipotle, Ranch, Italian
16 oz, 12 oz, 5 lb, 2 Pack
flour and baking mixes: Flour, Self Rising; Cake Mix; Baking Powder; Corn Starch; Yeast
spices: Black Pepper; Paprika; Ground Cumin; Sea Salt; Cinnamon Sticks
oil and vinegar: Olive Oil; Canola Oil; Balsamic Vinegar; Cider Vinegar
ketchup and mustard: Ketchup; Dijon Mustard; Mayonnaise; Relish
dressings: Salad Dressing; Vinaigrette; Croutons; Caesar Dressing
nut butters: Peanut Butter; Almond Butter; Hazelnut Spread; Tahini
jams and honey: Strawberry Jam; Honey; Blackberry Preserves; Maple Syrup
sugar and sweeteners: Cane Sugar; Brown Sugar; Stevia; Powdered Sugar
pickles and olives: Dill Pickles; Green Olives; Capers; Roasted Peppers
marinades and sauces: Barbecue Sauce; Hot Sauce; Steak Marinade; Worcestershire Sauce
baking decorations: Chocolate Chips; Sprinkles; Vanilla Extract; Frosting

produce | 1.7
Red, Baby, Green, Yellow, Sweet, Large, Seedless, Golden, Ripe, Heirloom
Bag, Bunch, 1 lb, 16 oz, 2 Count
fruit: Bananas; Apples; Avocados; Strawberries; Lemons; Blueberries; Grapes
vegetables: Carrots; Tomatoes; Cucumbers; Bell Peppers; Onions; Broccoli; Zucchini
packed salads: Spinach; Salad Mix; Arugula; Kale; Romaine Hearts
herbs: Cilantro; Parsley; Basil Leaves; Mint; Ginger Root
cut fruit and vegetables: Cut Melon; Carrot Sticks; Pineapple Chunks; Stir Fry Vegetables
mushrooms and roots: Mushrooms; Potatoes; Sweet Potatoes; Beets; Garlic

frozen | 0.2
Cheese, Chicken, Vegetable, Pepperoni, Vanilla, Chocolate, Beef, Mixed, Spinach, Mango
12 oz, 4 Count, 1 Pint
ice cream: Ice Cream; Ice Cream Bars; Sorbet; Frozen Yogurt; Gelato
frozen pizza: Thin Crust Pizza; Pizza Pockets; Rising Crust Pizza; French Bread Pizza
frozen meals: Burrito Bowl; Lasagna; Pot Pie; Macaroni Dinner; Enchiladas
frozen vegetables: Peas; Sweet Corn; Frozen Broccoli; Green Beans; Edamame
frozen fruit: Frozen Berries; Frozen Mango; Smoothie Blend; Frozen Cherries
frozen breakfast: Waffles; Pancakes; Breakfast Sandwich; Hash Browns
frozen snacks: Egg Rolls; Mozzarella Sticks; Potstickers; Taquitos
frozen potatoes: French Fries; Tater Bites; Potato Wedges
frozen fish: Fish Sticks; Frozen Shrimp; Salmon Burger; Cod Fillets
frozen meat: Chicken Nuggets; Frozen Meatballs; Turkey Burgers
frozen dough and desserts: Pie Crust; Cookie Dough; Fruit Pie; Puff Pastry

beverages | 0.6
Lemon, Lime, Orange, Cherry, Diet, Peach, Ginger, Grapefruit, Berry, Mint, Mango
12 Pack, 1 Liter, 64 fl oz
sparkling water: Sparkling Water; Seltzer; Mineral Water; Club Soda
soft drinks: Cola; Ginger Ale; Root Beer; Lemon Soda
juice: Orange Juice; Apple Juice; Lemonade; Cranberry Juice; Green Juice
coffee: Ground Coffee; Coffee Beans; Coffee Pods; Cold Brew; Instant Coffee
tea: Green Tea; Black Tea; Herbal Tea; Iced Tea; Chai Concentrate
still water: Spring Water; Purified Water; Alkaline Water
sports and energy drinks: Sports Drink; Energy Drink; Coconut Water; Electrolyte Mix
cocoa and drink mixes: Hot Cocoa; Drink Mix; Chocolate Syrup
refrigerated drinks: Kombucha; Smoothie; Probiotic Drink; Protein Shake

snacks | 0.7
Sea Salt, Chocolate, Cheddar, Barbecue, Peanut, Sour Cream, Almond, Honey, Caramel, Dark
8 oz, 6 Pack, 1 oz
chips: Potato Chips; Tortilla Chips; Kettle Chips; Pita Chips; Veggie Straws
crackers: Crackers; Rice Crackers; Wheat Thins; Snack Crackers
cookies: Sandwich Cookies; Chocolate Chip Cookies; Shortbread; Wafers
chocolate and candy: Chocolate Bar; Gummy Bears; Caramels; Peanut Butter Cups; Licorice
nuts and trail mix: Almonds; Cashews; Trail Mix; Pistachios; Mixed Nuts
granola and energy bars: Granola Bar; Protein Bar; Fruit & Nut Bar; Oat Bar
popcorn and pretzels: Popcorn; Pretzels; Pretzel Crisps; Microwave Popcorn
dried fruit: Raisins; Dried Mango; Apricots; Fruit Leather; Dates
dips: Salsa; Hummus Cup; Guacamole; Bean Dip
jerky and gum: Beef Jerky; Turkey Jerky; Mint Gum; Breath Mints

meat seafood | 0.4
Boneless, Skinless, Lean, Smoked, Wild, Thick Cut, Grass Fed, Peppered, Honey
1 lb, 12 oz, Family Pack
poultry: Chicken Breast; Chicken Thighs; Ground Turkey; Whole Chicken
beef: Ground Beef; Sirloin Steak; Beef Roast; Stew Beef
pork and bacon: Bacon; Pork Chops; Pork Loin; Ham Steak
sausages: Italian Sausage; Bratwurst; Breakfast Links; Beef Franks
fresh fish: Salmon Fillet; Tilapia; Tuna Steak; Trout
shellfish: Shrimp; Scallops; Crab Cakes; Mussels
meat alternatives: Tofu; Tempeh; Veggie Burger; Seitan

deli | 0.4
Roasted, Garlic, Spicy, Mediterranean, Black Forest, Honey, Red Pepper, Italian
8 oz, 10 oz, 1 lb
lunch meat: Sliced Turkey; Sliced Ham; Salami; Roast Beef Slices
hummus and fresh dips: Hummus; Tzatziki; Spinach Dip; Olive Tapenade
prepared salads and soups: Potato Salad; Chicken Soup; Coleslaw; Pasta Salad
prepared dishes: Rotisserie Chicken; Sushi Roll; Quiche; Spring Rolls
fine cheese: Brie; Feta; Goat Cheese; Blue Cheese; Fresh Mozzarella

breakfast | 0.2
Honey, Cinnamon, Maple, Apple, Frosted, Berry, Chocolate, Brown Sugar, Almond
12 oz, 18 oz, 10 Count
cereal: Corn Flakes; Oat Rings; Bran Flakes; Rice Puffs; Wheat Squares
granola: Granola; Muesli; Granola Clusters
oatmeal: Rolled Oats; Instant Oatmeal; Steel Cut Oats; Overnight Oats
breakfast bars and pastries: Toaster Pastries; Breakfast Bar; Breakfast Biscuits; Pancake Mix

canned goods | 0.1
Diced, No Salt Added, Whole, Fire Roasted, Chicken, Tomato, Black, Creamy, Spicy
15 oz, 28 oz, 4 Pack
canned beans: Black Beans; Garbanzo Beans; Kidney Beans; Refried Beans
canned tomatoes and vegetables: Crushed Tomatoes; Tomato Paste; Canned Corn; Pumpkin Puree
soup and broth: Chicken Broth; Tomato Soup; Vegetable Broth; Noodle Soup; Chili
canned fish and meat: Albacore Tuna; Sardines; Canned Salmon; Canned Chicken
canned fruit and applesauce: Applesauce; Canned Peaches; Fruit Cocktail; Pineapple Rings

pasta and grains | 0.1
Whole Wheat, Brown, White, Tomato, Basil, Three Cheese, Long Grain, Red, Egg
16 oz, 2 lb, 12 oz
dry pasta: Spaghetti; Penne; Rotini; Fusilli; Linguine
pasta sauce: Marinara Sauce; Alfredo Sauce; Pesto; Arrabbiata Sauce
rice: Jasmine Rice; Basmati Rice; Arborio Rice; Wild Rice
grains and beans: Quinoa; Lentils; Couscous; Split Peas; Farro
boxed dinners: Macaroni & Cheese; Rice Pilaf; Stuffing Mix; Mashed Potato Mix
fresh pasta: Ravioli; Tortellini; Gnocchi; Fettuccine

international | -0.2
Spicy, Red, Green, Sweet, Thai, Mild, Sesame, Teriyaki, Coconut, Hot
12 oz, 15 fl oz, 4 Pack
asian cooking: Soy Sauce; Rice Noodles; Curry Paste; Ramen; Sriracha
latin cooking: Taco Shells; Enchilada Sauce; Taco Seasoning; Green Chiles
indian cooking: Simmer Sauce; Papadums; Mango Chutney; Dal
european imports: Rye Crispbread; Stroopwafels; Lingonberry Jam; Spaetzle
middle eastern and kosher: Matzo; Grape Leaves; Halva; Falafel Mix

household | -0.3
Lavender, Lemon, Unscented, Fresh Linen, Clear, Heavy Duty, Ultra, Mountain Rain
12 Rolls, 50 Count, 32 fl oz
paper goods: Paper Towels; Toilet Paper; Facial Tissues; Napkins
laundry: Laundry Detergent; Fabric Softener; Dryer Sheets; Stain Remover
dish care: Dish Soap; Dishwasher Tablets; Sponges; Scrub Brush
cleaning products: All Purpose Cleaner; Glass Cleaner; Bleach; Disinfecting Wipes
trash bags and liners: Trash Bags; Kitchen Bags; Compost Bags
food storage: Sandwich Bags; Aluminum Foil; Plastic Wrap; Parchment Paper
kitchen tools: 9\" Pie Pan; 10\" Skewers; Can Opener; Measuring Cups; Muffin Tin
candles and air care: Scented Candle; Air Freshener; Room Spray
bulbs batteries and hardware: AA Batteries; Light Bulbs; Duct Tape; Extension Cord
party and picnic goods: Paper Plates; Plastic Cups; Birthday Candles; Charcoal

personal care | -0.4
Coconut, Lavender, Mint, Unscented, Aloe, Sensitive, Citrus, Tea Tree, Shea, Rose
12 fl oz, 2 Pack, 60 Count
hand and body soap: Hand Soap; Body Wash; Bar Soap; Hand Sanitizer
shampoo and conditioner: Shampoo; Conditioner; Dry Shampoo; Hair Mask
hair styling: Hair Gel; Hair Spray; Styling Cream; Hair Color
oral care: Toothpaste; Mouthwash; Toothbrush; Dental Floss
deodorant: Deodorant; Antiperspirant; Body Spray
shaving: Razor; Shave Gel; Aftershave; Razor Refills
facial care: Face Wash; Face Cream; Toner; Lip Balm
lotion and sun care: Body Lotion; Sunscreen; Hand Cream; Aloe Gel
feminine care: Tampons; Pads; Liners
vitamins: Multivitamin; Vitamin C; Fish Oil; Probiotic Capsules
pain and cold relief: Pain Reliever; Cough Syrup; Throat Lozenges; Nasal Spray
digestion: Antacid; Fiber Powder; Laxative
first aid: Bandages; Antiseptic; Cotton Balls; Cold Pack
eye and ear care: Contact Lens Solution; Eye Drops; Cotton Swabs
protein and diet: Protein Powder; Meal Replacement; Collagen Powder

babies | 0
Apple, Banana, Sweet Potato, Pear, Sensitive, Stage 2, Overnight, Carrot, Mango
4 oz, 72 Count, 12 Pack
baby food: Baby Food Pouch; Baby Cereal; Teething Biscuits; Toddler Meal
diapers and wipes: Diapers; Baby Wipes; Training Pants; Diaper Cream
baby formula: Infant Formula; Toddler Formula; Pediatric Drink
baby bath and care: Baby Shampoo; Baby Lotion; Baby Sunscreen; Pacifier

pets | -0.3
Chicken, Salmon, Beef, Turkey, Grain Free, Tuna, Lamb, Senior, Indoor
5 lb, 3 oz, 12 Pack, 20 lb
cat food and litter: Cat Food; Cat Litter; Cat Treats; Dry Cat Food
dog food: Dog Food; Dog Treats; Dry Dog Food; Rawhide
small pets and birds: Bird Seed; Hamster Bedding; Fish Flakes

alcohol | -0.2
Red, White, Dry, Pale, Amber, Reserve, Sparkling, Brut, Dark
750 ml, 6 Pack, 12 Pack
beer and cider: Lager; India Pale Ale; Hard Cider; Stout
red wine: Cabernet Sauvignon; Pinot Noir; Merlot; Malbec
white wine: Chardonnay; Sauvignon Blanc; Pinot Grigio; Riesling
sparkling and dessert wine: Prosecco; Champagne; Port
spirits: Vodka; Bourbon Whiskey; Gin; Tequila

bulk | -0.4
Raw, Roasted, Salted, Unsalted, Dark, Dried, Sliced
per lb, Scoop
bulk nuts and dried fruit: Bulk Almonds; Bulk Cranberries; Bulk Walnuts; Bulk Dates
bulk grains and seeds: Bulk Oats; Bulk Chia Seeds; Bulk Rice; Bulk Lentils

other | -0.6
Assorted, Seasonal, Gift, Holiday, Blue, Paper
Each, Set
flowers and sundries: Bouquet; Greeting Card; Gift Bag; Notebook; Magazine

missing | -0.6
Assorted, Vanilla, Spicy, Blueberry, Chicken, Lemon
12 oz, 4 Pack
missing: Snack Box; Drink; Fruit Snack; Sauce; Bread; Soup; Bar
"""


@functools.cache
def vocabulary() -> tuple[Department, ...]:
    """The departments of :data:`_WORDS`, read when first needed, for importing is free."""
    departments = []
    for paragraph in _WORDS.strip().split("\n\n"):
        head, variants, sizes, *lines = paragraph.splitlines()
        name, pull = head.split(" | ")
        aisles = {aisle: _split(kinds, "; ") for aisle, kinds in (line.split(": ") for line in lines)}
        departments.append(Department(name, float(pull), _split(variants), _split(sizes), aisles))
    return tuple(departments)
